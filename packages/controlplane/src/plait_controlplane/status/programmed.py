"""Which resources an object became, and which connected proxies have them. Pure; called by `writer`.

A replica knows the proxies that are connected to it.
"""

from collections.abc import Iterable

from plait_sdk.contracts import resource_pb2

from plait_controlplane.interest.publication import Key as ResourceKey
from plait_controlplane.interest.publication import Publication
from plait_controlplane.resources.reader import Key
from plait_controlplane.status.conditions import Programming
from plait_controlplane.status.proxies import ProxyState


def programming(publication: Publication, proxies: Iterable[ProxyState], key: Key) -> Programming:
    """How far the proxies are with the object of that kind, namespace and name."""
    wanted = _resource(key)
    if wanted is None:  # it stands in other objects' resources
        behind = [state.proxy for state in proxies if not _is_current(publication, state)]
        return Programming(behind=tuple(sorted(behind)))
    resource = publication.resources.get(wanted)
    if resource is None:
        return Programming()
    late, rejected = [], []
    name = resource_pb2.ResourceKind.Name(wanted[0]).removeprefix("RESOURCE_KIND_").capitalize()
    for state in proxies:
        refusal = state.rejections.get((name, wanted[1])) or state.rejections.get(("", ""))
        if wanted not in state.acked and wanted not in state.sent:
            continue
        if refusal is not None:
            rejected.append(f"{state.proxy}: {refusal.path} {refusal.reason}".replace(":  ", ": "))
        elif state.acked.get(wanted) != resource.version:
            late.append(state.proxy)
    return Programming(tuple(sorted(late)), tuple(sorted(rejected)))


def _is_current(publication: Publication, state: ProxyState) -> bool:
    return state.settled and state.generation == publication.generation


def _resource(key: Key) -> ResourceKey | None:
    kind, namespace, name = key
    full = f"{namespace}/{name}" if namespace else name
    match kind:
        case "Mesh":
            return resource_pb2.RESOURCE_KIND_MESH, "default"
        case "AuthorizationPolicy":
            return resource_pb2.RESOURCE_KIND_POLICY, full
        case "Workload":
            return resource_pb2.RESOURCE_KIND_WORKLOAD, full
        case "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute":
            return resource_pb2.RESOURCE_KIND_ROUTE, f"{kind}/{full}"
        case _:
            return None
