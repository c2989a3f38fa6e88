"""The decision about one pod, and the pod with its proxy. Called by the mutating webhook. Pure.

Fails closed: a pod that is wanted in the mesh and cannot get its proxy as it must be is refused with the reason.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from plait_controlplane.injection.probes import rewrite
from plait_controlplane.injection.template import (
    PORTS,
    PROXY,
    PROXY_UID,
    REDIRECT,
    STATE,
    TOKEN,
    Object,
    Template,
    proxy,
    redirect,
    volumes,
)

INJECT = "plait.dev/inject"
INJECTED = "plait.dev/injected"
ENFORCE = "pod-security.kubernetes.io/enforce"
NEVER = ("plait-system", "kube-system")


class Refused(Exception):
    """No pod, and why."""


@dataclass(frozen=True)
class Outcome:
    """A JSON patch, empty = the pod stays as it is; and what its owner should know."""

    patch: tuple[Object, ...] = ()
    warnings: tuple[str, ...] = ()


def wanted(namespace: str, namespace_labels: Mapping[str, str], pod: Object) -> bool:
    """Whether the pod belongs in the mesh. Its own label wins over its namespace's; some namespaces never are in it."""
    if namespace in NEVER:
        return False
    own = _labels(pod).get(INJECT)
    return (own if own is not None else namespace_labels.get(INJECT)) == "enabled"


def inject(namespace: str, namespace_labels: Mapping[str, str], pod: Object, template: Template) -> Outcome:
    """What becomes of a pod that is created; raises Refused."""
    if not wanted(namespace, namespace_labels, pod):
        return Outcome()
    spec = pod.get("spec") or {}
    if _is_injected(pod):
        return Outcome()
    if spec.get("hostNetwork"):
        return _on_the_host(pod)
    if reason := _obstacle(spec, namespace_labels):
        raise Refused(f"{reason}. To leave this pod out of the mesh label it {INJECT}: disabled")
    return Outcome(tuple(_patch(pod, _with_proxy(pod, template))))


def _is_injected(pod: Object) -> bool:
    """By what it has, not by what it says: a label alone is no proxy."""
    names = {one.get("name") for one in (pod.get("spec") or {}).get("initContainers") or []}
    return INJECTED in _labels(pod) and {PROXY, REDIRECT} <= names


def _on_the_host(pod: Object) -> Outcome:
    why = "it has the node's network (hostNetwork), and redirecting that would redirect the node"
    if _labels(pod).get(INJECT) == "enabled":
        raise Refused(f"this pod cannot be in the mesh: {why}. Remove its label {INJECT}, or hostNetwork")
    return Outcome(warnings=(f"plait: this pod is not in the mesh: {why}",))


def _obstacle(spec: Object, namespace_labels: Mapping[str, str]) -> str:
    """Why this pod cannot get a proxy; empty = it can."""
    level = namespace_labels.get(ENFORCE, "privileged")
    if level != "privileged":
        return (
            f"the namespace enforces the pod security standard {level}, which forbids the capability NET_ADMIN that"
            f" {REDIRECT} needs to redirect the pod's traffic. Label the namespace {ENFORCE}: privileged (its own"
            " containers need no more than before)"
        )
    if (spec.get("os") or {}).get("name", "linux") != "linux":
        return "the proxy runs on Linux only"
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    for container in containers:
        name = container.get("name")
        if name in (PROXY, REDIRECT):
            return f"the name of its container {name} belongs to the mesh; give it another"
        if taken := {port.get("containerPort") for port in container.get("ports") or []} & PORTS:
            return f"the port {min(taken)} of its container {name} belongs to the proxy; use another"
    for volume in spec.get("volumes") or []:
        if volume.get("name") in (TOKEN, STATE):
            return f"the name of its volume {volume['name']} belongs to the mesh; give it another"
    return _as_the_proxy(spec, containers)


def _as_the_proxy(spec: Object, containers: list[Object]) -> str:
    for holder, who in [(spec, "the pod"), *((one, f"its container {one.get('name')}") for one in containers)]:
        if (holder.get("securityContext") or {}).get("runAsUser") == PROXY_UID:
            return f"{who} runs as user {PROXY_UID}, the proxy's own: what it sends would not pass through the mesh"
    return ""


def _with_proxy(pod: Object, template: Template) -> Object:
    after = copy.deepcopy(pod)
    spec = after["spec"] = after.get("spec") or {}
    metadata = after["metadata"] = after.get("metadata") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), INJECTED: "true"}
    theirs = spec.get("initContainers") or []
    # Those of the application that stay are probed as its containers are.
    probes = rewrite(
        [*(one for one in theirs if one.get("restartPolicy") == "Always"), *(spec.get("containers") or [])]
    )
    # First of all: what starts before the proxy would find no network, or one without protection.
    spec["initContainers"] = [redirect(template), proxy(template, probes), *theirs]
    spec["volumes"] = [*(spec.get("volumes") or []), *volumes()]
    return after


def _patch(before: Object, after: Object) -> list[Object]:
    """The changed fields of metadata and spec, each as a whole."""
    found = []
    for part in ("metadata", "spec"):
        if not before.get(part):
            found.append({"op": "add", "path": f"/{part}", "value": after[part]})
            continue
        for name, value in after[part].items():
            if value != before[part].get(name):
                word = "replace" if name in before[part] else "add"
                found.append({"op": word, "path": f"/{part}/{name}", "value": value})
    return found


def _labels(pod: Object) -> dict[str, str]:
    return (pod.get("metadata") or {}).get("labels") or {}
