"""Pods, EndpointSlices and Nodes of the API server, cut down to what the mesh reads. Pure; called by `kubernetes`."""

from collections.abc import Mapping
from typing import Any

from plait_controlplane.apiserver import Object
from plait_controlplane.resources.cluster import PlainPod, Slice, SliceEndpoint
from plait_controlplane.resources.kinds import PLAIT
from plait_controlplane.resources.workload import Workload

INJECTED = "plait.dev/injected"
"""The label that the injector puts on a pod with a proxy."""

INJECT = "plait.dev/inject"
"""The label of a namespace or a pod that asks for a proxy; the pod's wins."""

NEVER = ("plait-system", "kube-system")
"""Namespaces whose pods have none, whatever they ask."""

ZONE = "topology.kubernetes.io/zone"
SERVICE = "kubernetes.io/service-name"
PROXY = "plait-proxy"
"""The container of the proxy."""
ENDED = ("Succeeded", "Failed")


def full_name(item: Object) -> str:
    """ "namespace/name"; the name alone of what has no namespace."""
    meta = item.get("metadata", {})
    return "/".join(part for part in (meta.get("namespace"), meta.get("name")) if part)


def cut(item: Object) -> Object | None:
    """What of a pod makes a difference to the mesh.

    None while it has no address, and when it has ended: its address may be another's by then.
    """
    meta, spec, status = item.get("metadata", {}), item.get("spec", {}), item.get("status", {})
    address = str(status.get("podIP") or "")
    if not address or status.get("phase") in ENDED:
        return None
    labels = {str(key): str(value) for key, value in (meta.get("labels") or {}).items()}
    return {
        "namespace": str(meta["namespace"]),
        "name": str(meta["name"]),
        "labels": labels,
        "uid": str(meta.get("uid") or ""),
        "asked": labels.get(INJECT),
        "on_host": bool(spec.get("hostNetwork")),
        "injected": labels.get(INJECTED) == "true" and not spec.get("hostNetwork"),
        "node": str(spec.get("nodeName") or ""),
        "account": str(spec.get("serviceAccountName") or "default"),
        "ports": _ports(spec),
        "address": address,
    }


def _ports(spec: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Those with a name, of the containers and of those beside them; not the proxy's own. Others need no list."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return [
        (str(port["name"]), int(port["containerPort"]))
        for container in containers
        for port in container.get("ports") or ()
        if container.get("name") != PROXY and port.get("name") and port.get("protocol", "TCP") == "TCP"
    ]


def pod(kept: Object, zone: str, asked: str) -> Workload | PlainPod:
    """Of what was kept of it, in the zone of its node; `asked` is what its namespace says of injection."""
    if not kept["injected"]:
        own = kept["asked"] if kept["asked"] is not None else asked
        missing = own == "enabled" and not kept["on_host"] and kept["namespace"] not in NEVER
        return PlainPod(kept["namespace"], kept["name"], kept["address"], zone, kept["uid"], missing)
    return Workload.model_validate(
        {
            "apiVersion": PLAIT,
            "kind": "Workload",
            "metadata": {"name": kept["name"], "namespace": kept["namespace"], "labels": kept["labels"]},
            "spec": {
                "serviceAccount": kept["account"],
                "address": kept["address"],
                "ports": [{"name": name, "port": port} for name, port in kept["ports"]],
                "zone": zone,
            },
        }
    )


def endpoint_slice(item: Object) -> tuple[str, Slice] | None:
    """With the Service that it belongs to; None when it is no Service's, or names hosts."""
    meta, family = item.get("metadata", {}), str(item.get("addressType"))
    service = (meta.get("labels") or {}).get(SERVICE)
    if not service or family not in ("IPv4", "IPv6"):
        return None
    ports = {
        str(port.get("name") or ""): int(port["port"])
        for port in item.get("ports") or ()
        if port.get("port") and port.get("protocol", "TCP") == "TCP"
    }
    endpoints = tuple(_endpoint(meta.get("namespace", ""), one) for one in item.get("endpoints") or ())
    return f"{meta['namespace']}/{service}", Slice(family, ports, endpoints)


def _endpoint(namespace: str, one: Mapping[str, Any]) -> SliceEndpoint:
    conditions = one.get("conditions") or {}
    ready = conditions.get("ready") is not False  # unknown counts as ready, as the API says
    target = one.get("targetRef") or {}
    pod_name = f"{target.get('namespace') or namespace}/{target.get('name')}" if target.get("kind") == "Pod" else ""
    serving = conditions.get("serving", ready) is not False
    return SliceEndpoint(
        address=str(one["addresses"][0]),
        ready=ready,
        draining=serving and bool(conditions.get("terminating")),
        zone=str(one.get("zone") or ""),
        pod=pod_name,
    )


def zone(item: Object) -> str:
    """Of a Node; empty when it does not say."""
    return str((item.get("metadata", {}).get("labels") or {}).get(ZONE, ""))


def asked(item: Object) -> str:
    """What a Namespace says of injection; empty when it says nothing."""
    return str((item.get("metadata", {}).get("labels") or {}).get(INJECT, ""))
