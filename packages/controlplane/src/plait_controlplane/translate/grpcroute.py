"""GRPCRoute -> the Route message: gRPC is HTTP, its service and method are the path."""

from collections.abc import Iterator

from plait_sdk import check_pattern
from plait_sdk.contracts import route_pb2

from plait_controlplane.resources.grpcroute import GRPCMatch, GRPCRoute, GRPCRule, MethodMatch
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.world import World
from plait_controlplane.translate.attachment import Winners, check_parents, parents
from plait_controlplane.translate.filters import check_filters, filter_message
from plait_controlplane.translate.names import created, object_ref
from plait_controlplane.translate.reference import backend, check_backends
from plait_controlplane.translate.route import header_matches
from plait_controlplane.translate.session import check_persistence, persist
from plait_controlplane.translate.traffic import Target, call_traffic

ANY = "[^/]+"
"""A service or a method that is not named."""


def translate_grpc_route(
    world: World, route: GRPCRoute, traffic: list[TrafficPolicy], won: Winners
) -> route_pb2.Route | None:
    """The message; None when the route shapes no Service."""
    namespace = route.metadata.namespace
    shaped = parents(world, route, won)
    if not shaped:
        return None
    message = route_pb2.Route(
        object=object_ref(route),
        created_unix_seconds=created(route.metadata),
        parents=shaped,
        kind=route_pb2.ROUTE_KIND_GRPC,
    )
    for index, rule in enumerate(route.spec.rules):
        entry = message.rules.add(name=rule.name)
        # A rule without matches takes every call: that is a match too, since a request that is no call is none of its.
        entry.matches.extend(_match(match) for match in rule.matches or [GRPCMatch()])
        entry.filters.extend(filter_message(world, namespace, one) for one in rule.filters)
        for ref in rule.backend_refs:
            share = backend(world, namespace, ref, ref.weight)
            share.filters.extend(filter_message(world, namespace, one) for one in ref.filters)
            entry.backends.append(share)
        entry.traffic.CopyFrom(call_traffic(traffic, _levels(route, rule, shaped), namespace, {}))
        persist(route, index, rule, entry)
    return message


def _match(match: GRPCMatch) -> route_pb2.RouteMatch:
    """Every call is a POST."""
    message = route_pb2.RouteMatch(method="POST", headers=header_matches(match.headers))
    message.path.type, message.path.value = method_path(match.method)
    message.grpc.service = len((match.method and match.method.service) or "")
    message.grpc.method = len((match.method and match.method.method) or "")
    return message


def method_path(match: MethodMatch | None) -> tuple[route_pb2.MatchType.ValueType, str]:
    """The path of the calls that match: "/service/method"."""
    match match:
        case None:
            return route_pb2.MATCH_TYPE_PREFIX, "/"
        case MethodMatch(type="Exact", service=str(service), method=str(method)) if service and method:
            return route_pb2.MATCH_TYPE_EXACT, f"/{service}/{method}"
        case MethodMatch(type="Exact", service=str(service)) if service:
            return route_pb2.MATCH_TYPE_PREFIX, f"/{service}"
        case MethodMatch():
            return route_pb2.MATCH_TYPE_REGEX, f"/(?:{match.service or ANY})/(?:{match.method or ANY})"


def check_grpc_route(world: World, stored: StoredObject, route: GRPCRoute, won: Winners) -> Iterator[Problem]:
    """Parents, patterns and backends."""
    yield from check_parents(world, stored, route, won)
    if route.spec.hostnames:
        yield stored.problem(("spec", "hostnames"), "hostnames are ignored on a route of a Service", "note")
    names = [rule.name for rule in route.spec.rules]
    for index, rule in enumerate(route.spec.rules):
        here: Path = ("spec", "rules", index)
        if rule.name and rule.name in names[:index]:
            yield stored.problem((*here, "name"), f'the rule name "{rule.name}" comes twice')
        for j, match in enumerate(rule.matches):
            yield from _check_patterns(stored, (*here, "matches", j), match)
        yield from check_backends(world, stored, here, rule.backend_refs, "gets UNAVAILABLE backend_not_found")
        yield from check_filters(stored, here, rule.filters)
        yield from check_persistence(world, stored, here, rule.session_persistence, rule.backend_refs)


def _check_patterns(stored: StoredObject, path: Path, match: GRPCMatch) -> Iterator[Problem]:
    found: list[tuple[Path, str]] = [
        (("headers", index, "value"), header.value)
        for index, header in enumerate(match.headers)
        if header.type == "RegularExpression"
    ]
    if match.method and match.method.type == "RegularExpression":
        named = (("service", match.method.service), ("method", match.method.method))
        found.extend((("method", field), pattern) for field, pattern in named if pattern)
    for field, pattern in found:
        try:
            check_pattern(pattern)
        except ValueError as error:
            yield stored.problem((*path, *field), str(error))


def _levels(route: GRPCRoute, rule: GRPCRule, shaped: list[route_pb2.RouteParent]) -> list[Target]:
    """What a TrafficPolicy may stand on, the nearest first."""
    meta = route.metadata
    levels = [Target(meta.namespace, "GRPCRoute", meta.name)]
    if rule.name:
        levels.insert(0, Target(meta.namespace, "GRPCRoute", meta.name, rule.name))
    for name in dict.fromkeys(parent.service for parent in shaped):
        namespace, _, service = name.partition("/")
        levels.append(Target(namespace, "Service", service))
    return levels
