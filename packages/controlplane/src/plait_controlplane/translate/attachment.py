"""Which routes shape which port of a Service. Of several kinds on one port one counts, and the others give way.

GRPCRoute > HTTPRoute > TLSRoute > TCPRoute, as the Gateway API orders them (GEP-1294), among the producer routes of a
port and among the consumer routes of one namespace each for itself. Pure; asked by the translation of every route.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from plait_sdk.contracts import route_pb2, workload_pb2

from plait_controlplane.resources.grpcroute import GRPCRoute
from plait_controlplane.resources.httproute import HTTPRoute, ParentRef
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.service import Service, ServicePort
from plait_controlplane.resources.streamroute import TCPRoute, TLSRoute
from plait_controlplane.resources.world import World
from plait_controlplane.translate.names import created, full_name
from plait_controlplane.translate.reference import has_front, wrong_parent
from plait_controlplane.translate.service import protocol

Route: TypeAlias = GRPCRoute | HTTPRoute | TLSRoute | TCPRoute

ORDER: Final = ("GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute")

Place = tuple[str, int, str]
""" "namespace/service", port, and the namespace of consumer routes; empty for producer routes."""

Winners = Mapping[Place, Route]
"""At each place the oldest route of the kind that counts there."""

OPAQUE = {workload_pb2.PROTOCOL_TCP: "tcp", workload_pb2.PROTOCOL_TLS: "tls"}
HTTP = {workload_pb2.PROTOCOL_HTTP: "http", workload_pb2.PROTOCOL_HTTP2: "http2"}
SPOKEN = OPAQUE | HTTP


def winners(world: World) -> Winners:
    """Made once a world."""
    found: dict[Place, Route] = {}
    for route in routes(world):
        for parent in route.spec.parent_refs:
            for place in _places(world, route, parent):
                found.setdefault(place, route)
    return found


def routes(world: World) -> list[Route]:
    """All routes: the kind that counts first, then the oldest, then by name."""
    every = [stored.resource for stored in world.objects.values()]
    found = [one for one in every if isinstance(one, GRPCRoute | HTTPRoute | TLSRoute | TCPRoute)]
    return sorted(found, key=lambda r: (ORDER.index(r.kind), created(r.metadata), full_name(r.metadata)))


def parents(world: World, route: Route, won: Winners) -> list[route_pb2.RouteParent]:
    """The Service front ends that the route shapes; where it gave way on some ports, the others one by one."""
    found = []
    for parent in route.spec.parent_refs:
        service = _service(world, route, parent)
        if service is None:
            continue
        places = [place for place in _places(world, route, parent) if won[place].kind == route.kind]
        whole = parent.port is None and len(places) == len(service.spec.carried)
        for port in [0] if whole and places else [port for _, port, _ in places]:
            consumer = _consumer(route, service)
            found.append(
                route_pb2.RouteParent(service=full_name(service.metadata), port=port, consumer_namespace=consumer)
            )
    return found


def check_parents(world: World, stored: StoredObject, route: Route, won: Winners) -> Iterator[Problem]:
    """Parents that are none, ports that speak something else, and ports where another kind of route counts."""
    for index, parent in enumerate(route.spec.parent_refs):
        path: Path = ("spec", "parentRefs", index)
        if (parent.group, parent.kind) != ("", "Service"):
            message = 'UnsupportedValue: only Services are parents yet; write group: "", kind: Service'
            yield stored.problem((*path, "kind"), message)
            continue
        found = wrong_parent(world, route.metadata.namespace, parent)
        if found:
            yield stored.problem((*path, found[0]), found[1])
        elif service := _service(world, route, parent):
            yield from _check_ports(world, stored, route, (path, parent, service), won)
    if not route.spec.parent_refs:
        yield stored.problem(("spec",), "the route has no parentRefs: it shapes nothing", "note")


def _check_ports(
    world: World, stored: StoredObject, route: Route, named: tuple[Path, ParentRef, Service], won: Winners
) -> Iterator[Problem]:
    path, parent, service = named
    name = full_name(service.metadata)
    places = _places(world, route, parent)
    if not places and service.spec.carried:
        ports = [port for port in service.spec.carried if parent.port in (None, port.port)]
        spoken = ", ".join(f"{port.port} is {SPOKEN[protocol(port)]}" for port in ports)
        wanted = "asks for a name" if route.kind == "TLSRoute" else "is a request"
        message = f"nothing on Service {name} {wanted} for this {route.kind}: port {spoken} by appProtocol or its name"
        yield stored.problem((*path, "port" if parent.port else "name"), message)
    lost: dict[str, list[int]] = {}
    for place in places:
        if won[place].kind != route.kind:
            winner = won[place]
            lost.setdefault(f"{winner.kind} {full_name(winner.metadata)}", []).append(place[1])
    everywhere = sum(map(len, lost.values())) == len(places)
    if lost:
        who = ", ".join(f"{winner} counts on port {_list(ports)}" for winner, ports in lost.items())
        advice = "attach one of them to another port"
        message = f"Conflicted: on Service {name} {who}, and this {route.kind} gives way to it there; {advice}"
        yield stored.problem(path, message, "error" if everywhere else "note")
    beside = [won[place] for place in places if route.kind == won[place].kind == "TCPRoute" and won[place] is not route]
    for other in sorted({full_name(other.metadata) for other in beside}):
        message = (
            f"TCPRoute {other} takes every connection to Service {name} before this one: it is older, or first by name"
        )
        yield stored.problem(path, message, "note")


def _list(ports: list[int]) -> str:
    return " and ".join(map(str, ports))


def _places(world: World, route: Route, parent: ParentRef) -> list[Place]:
    """The ports that a parentRef names and that can speak what the route reads."""
    service = _service(world, route, parent)
    if service is None:
        return []
    named = [port for port in service.spec.carried if parent.port in (None, port.port)]
    ports = [port for port in named if _fits(route, port, explicitly=parent.port is not None)]
    return [(full_name(service.metadata), port.port, _consumer(route, service)) for port in ports]


def _fits(route: Route, port: ServicePort, explicitly: bool) -> bool:
    """No request can be read where opaque bytes are declared, no name of TLS where requests are; any port is TCP.

    A port that is declared TCP can carry TLS: a TLSRoute has it when it names the port, not when it means all.
    """
    match route:
        case GRPCRoute() | HTTPRoute():
            return protocol(port) not in OPAQUE
        case TLSRoute():
            return protocol(port) not in HTTP and (explicitly or protocol(port) != workload_pb2.PROTOCOL_TCP)
        case TCPRoute():
            return True


def _service(world: World, route: Route, parent: ParentRef) -> Service | None:
    if (parent.group, parent.kind) != ("", "Service"):
        return None
    service = world.service(parent.namespace or route.metadata.namespace, parent.name)
    return service if service is not None and has_front(service) else None


def _consumer(route: Route, service: Service) -> str:
    namespace = route.metadata.namespace
    return "" if service.metadata.namespace == namespace else namespace
