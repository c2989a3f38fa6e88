"""One object, judged before it is stored. Called by the validating webhook. Pure.

Only what the object says itself is judged: what it refers to may come later, and `status` tells of it. Objects that
have nothing to do with us pass unread, however odd they are.
"""

import re
from typing import Any

import yaml

from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.translate.everything import check

Object = dict[str, Any]

OURS = "plait.dev/"
STANDARD = "gateway.networking.k8s.io/"
# One tenant's object must not keep the judge from the others'.
LONGEST_BYTES = 256 * 1024

_REFERENCE = re.compile(
    r"\bparentRefs\[|\b(backendRefs|backendRef|targetRefs)\b.*\.(name|namespace|port|sectionName)$|\bto$"
)


def judge(given: Object) -> list[str]:
    """What is wrong, each with its field path; empty = it may be stored."""
    if not _concerns_us(given):
        return []
    # What the API server keeps beside the user's fields is none of theirs.
    metadata = given.get("metadata") or {}
    kept = {name: metadata[name] for name in ("name", "namespace", "labels", "annotations") if metadata.get(name)}
    shown = {name: value for name, value in given.items() if name != "status"} | {"metadata": kept}
    text = yaml.safe_dump(shown)
    if len(text) > LONGEST_BYTES:
        return [f"larger than {LONGEST_BYTES >> 10} KiB"]
    objects, problems = read("", text)
    alone, _ = world_of(objects)
    found = [*problems, *(one for one in check(alone) if not _refers(one))]
    return [f"{one.path}: {one.message}" if one.path else one.message for one in found if one.severity == "error"]


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
