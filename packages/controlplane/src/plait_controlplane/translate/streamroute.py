"""TCPRoute and TLSRoute -> the Route message: one rule, and for TLS the server names that it takes."""

from collections.abc import Iterator

from plait_sdk.contracts import route_pb2

from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.streamroute import TCPRoute, TLSRoute
from plait_controlplane.resources.world import World
from plait_controlplane.translate.attachment import Winners, check_parents, parents
from plait_controlplane.translate.names import created, object_ref
from plait_controlplane.translate.reference import backend, check_backends

KINDS = {"TCPRoute": route_pb2.ROUTE_KIND_TCP, "TLSRoute": route_pb2.ROUTE_KIND_TLS}


def translate_stream_route(world: World, route: TCPRoute | TLSRoute, won: Winners) -> route_pb2.Route | None:
    """The message; None when the route shapes no Service."""
    shaped = parents(world, route, won)
    if not shaped:
        return None
    message = route_pb2.Route(
        object=object_ref(route),
        created_unix_seconds=created(route.metadata),
        parents=shaped,
        kind=KINDS[route.kind],
        hostnames=route.spec.hostnames if isinstance(route, TLSRoute) else [],
    )
    for rule in route.spec.rules:
        refs = rule.backend_refs
        backends = [backend(world, route.metadata.namespace, ref, ref.weight) for ref in refs]
        message.rules.add(name=rule.name, backends=backends)
    return message


def check_stream_route(
    world: World, stored: StoredObject, route: TCPRoute | TLSRoute, won: Winners
) -> Iterator[Problem]:
    """Parents and backends."""
    yield from check_parents(world, stored, route, won)
    for index, rule in enumerate(route.spec.rules):
        yield from check_backends(world, stored, ("spec", "rules", index), rule.backend_refs, "is closed")
