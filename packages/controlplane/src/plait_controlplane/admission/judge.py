"""One object, judged before it is stored, by our rules and by plugins. Called by the validating webhook.

Only what the object says itself is judged: what it refers to may come later, and `status` tells of it. Objects that
have nothing to do with us pass unread, however odd they are.
"""

import asyncio
import re
from typing import Any

import yaml
from plait_sdk.control import Resource

from plait_controlplane.hooks.answers import Away, Judge
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.translate.everything import check

Object = dict[str, Any]

OURS = "plait.dev/"
STANDARD = "gateway.networking.k8s.io/"
# One tenant's object must not keep the judge from the others'.
LONGEST_BYTES = 256 * 1024
# The API server waits for 10 s, and stores the object then: what plugins did not say by now counts as a refusal.
PLUGINS_SECONDS = 8.0

_REFERENCE = re.compile(
    r"\bparentRefs\[|\b(backendRefs|backendRef|targetRefs)\b.*\.(name|namespace|port|sectionName)$|\bto$"
)


def judge(given: Object) -> list[str]:
    """What is wrong, each with its field path; empty = it may be stored."""
    if not _concerns_us(given):
        return []
    text = yaml.safe_dump(_written(given))
    if len(text) > LONGEST_BYTES:
        return [f"larger than {LONGEST_BYTES >> 10} KiB"]
    objects, problems = read("", text)
    alone, _ = world_of(objects)
    found = [*problems, *(one for one in check(alone) if not _refers(one))]
    return [f"{one.path}: {one.message}" if one.path else one.message for one in found if one.severity == "error"]


def shown(given: Object) -> Resource | None:
    """The object as plugins are shown it; None where it is not ours to judge."""
    if not _concerns_us(given):
        return None
    body = _written(given)
    meta = body["metadata"]
    return Resource(str(given.get("kind", "")), str(meta.get("namespace", "")), str(meta.get("name", "")), body)


async def ask(plugins: Judge, resource: Resource) -> tuple[list[str], list[str]]:
    """What plugins refuse, and what they only note. One that cannot say refuses, unless it is Open."""
    try:
        async with asyncio.timeout(PLUGINS_SECONDS):
            (judged,) = await plugins.judge([resource])
    except (Away, TimeoutError) as error:
        return [f"PluginFailed: {error or 'plugins did not answer in time'}"], []
    refused = [f"PluginFailed {one.plugin}: {one.hook}: {one.text}" for one in judged.failures if not one.is_open]
    told = [(one.severity, f"{one.path}: {one.plugin}: {one.message}") for one in judged.said]
    refused += [f"RefusedByPlugin {text}" for severity, text in told if severity == "error"]
    return refused, [text for severity, text in told if severity != "error"]


def _written(given: Object) -> Object:
    """What the user wrote: what the API server keeps beside it is none of theirs."""
    metadata = given.get("metadata") or {}
    kept = {name: metadata[name] for name in ("name", "namespace", "labels", "annotations") if metadata.get(name)}
    return {name: value for name, value in given.items() if name != "status"} | {"metadata": kept}


def _refers(problem: Problem) -> bool:
    """Whether it is about something else: parents may be others', and what is named may come later."""
    return bool(_REFERENCE.search(problem.path))


def _concerns_us(given: Object) -> bool:
    version = str(given.get("apiVersion", ""))
    if version.startswith(OURS):
        return True
    return version.startswith(STANDARD) and any(_is_service(one) for one in _parents(given))


def _parents(given: Object) -> list[Any]:
    spec = given.get("spec")
    found = spec.get("parentRefs") if isinstance(spec, dict) else None
    return found if isinstance(found, list) else []


def _is_service(parent: Any) -> bool:
    return isinstance(parent, dict) and parent.get("kind") == "Service" and parent.get("group", "") == ""
