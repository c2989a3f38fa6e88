"""Which kinds are read, and which one a user meant who wrote none of them. Pure; called by `reader` and `sources`.

A kind that is misspelt must not be taken for somebody else's: its object would count as removed, not as broken.
"""

from difflib import get_close_matches

from plait_controlplane.resources import (
    authorizationpolicy,
    grpcroute,
    httproute,
    mesh,
    plugin,
    service,
    streamroute,
    trafficpolicy,
    workload,
)
from plait_controlplane.resources.fields import Resource

CORE = "v1"
PLAIT = "plait.dev/v1alpha1"
GATEWAY = "gateway.networking.k8s.io/v1"

KINDS: dict[tuple[str, str], type[Resource]] = {
    (CORE, "Service"): service.Service,
    (CORE, "Secret"): service.Secret,
    (CORE, "ConfigMap"): service.ConfigMap,
    (GATEWAY, "HTTPRoute"): httproute.HTTPRoute,
    (GATEWAY, "GRPCRoute"): grpcroute.GRPCRoute,
    (GATEWAY, "TLSRoute"): streamroute.TLSRoute,
    (GATEWAY, "TCPRoute"): streamroute.TCPRoute,
    (PLAIT, "Mesh"): mesh.Mesh,
    (PLAIT, "Workload"): workload.Workload,
    (PLAIT, "AuthorizationPolicy"): authorizationpolicy.AuthorizationPolicy,
    (PLAIT, "TrafficPolicy"): trafficpolicy.TrafficPolicy,
    (PLAIT, "Plugin"): plugin.Plugin,
}
"""Every kind that is read, by apiVersion and kind."""

PLANNED = {(PLAIT, "AuthenticationPolicy"), (PLAIT, "ExternalService"), (GATEWAY, "BackendTLSPolicy")}
"""Kinds that no proxy honours yet: refused, never ignored.

Who writes a BackendTLSPolicy counts on TLS that nobody would begin.
"""

CONTROLLER = "plait.dev/controlplane"
"""Who we are in a status that several controllers write."""

CLUSTER_SCOPED = {"Mesh"}

# Within two edits of a kind that we read, and none of it.
NEIGHBOURS = {"UDPRoute"}

# Two slips of the pen; with three, kinds that really exist come near.
MOST_EDITS = 2


def plural(kind: str) -> str:
    """As the API server has it in its paths: "AuthorizationPolicy" -> "authorizationpolicies"."""
    lower = kind.lower()
    if lower.endswith("y"):
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith("sh") else f"{lower}s"


def meant(version: str, kind: str) -> tuple[str, str] | None:
    """apiVersion and kind that were meant; None when it is somebody else's kind. Of a planned kind it is that kind."""
    if (version, kind) in KINDS or (version, kind) in PLANNED:
        return version, kind
    group = group_of(version)
    if group == PLAIT:
        near = get_close_matches(kind, _kinds(PLAIT), n=1)
        return (PLAIT, near[0]) if near else None
    elsewhere = next((known for known, name in (*KINDS, *PLANNED) if name == kind), None)
    if elsewhere is not None:
        return elsewhere, kind
    if group is None or kind in NEIGHBOURS:
        return None
    near = [name for name in _kinds(group) if edits(name.casefold(), kind.casefold()) <= MOST_EDITS]
    return (group, near[0]) if near else None


def group_of(version: str) -> str | None:
    """The apiVersion that we read of the group that `version` names or nearly names."""
    group = version.rpartition("/")[0]
    for known in (CORE, PLAIT, GATEWAY):
        name = known.rpartition("/")[0]
        if group == name or (group and name and edits(group, name) <= MOST_EDITS):
            return known
    return None


def edits(one: str, other: str) -> int:
    """How many letters must be added, removed or replaced (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def _kinds(version: str) -> list[str]:
    return [name for known, name in (*KINDS, *sorted(PLANNED)) if known == version]
