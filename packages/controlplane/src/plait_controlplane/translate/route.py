"""HTTPRoute -> the Route message."""

from collections.abc import Iterator
from typing import Any

from plait_sdk import check_pattern
from plait_sdk.contracts import route_pb2, service_pb2

from plait_controlplane.resources.httproute import HeaderMatch, HTTPRoute, Match, Rule
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.world import World
from plait_controlplane.translate.attachment import Winners, check_parents, parents
from plait_controlplane.translate.filters import check_filters, filter_message
from plait_controlplane.translate.names import created, object_ref
from plait_controlplane.translate.reference import backend, check_backends
from plait_controlplane.translate.session import check_persistence, persist
from plait_controlplane.translate.traffic import Target, call_traffic, origin

TYPES = {
    "Exact": route_pb2.MATCH_TYPE_EXACT,
    "PathPrefix": route_pb2.MATCH_TYPE_PREFIX,
    "RegularExpression": route_pb2.MATCH_TYPE_REGEX,
}


def translate_route(
    world: World, route: HTTPRoute, traffic: list[TrafficPolicy], won: Winners
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
        kind=route_pb2.ROUTE_KIND_HTTP,
    )
    services = [
        Target(parent.namespace or namespace, "Service", parent.name)
        for parent in route.spec.parent_refs
        if parent.kind == "Service" and world.service(parent.namespace or namespace, parent.name)
    ]
    for index, rule in enumerate(route.spec.rules):
        entry = message.rules.add(name=rule.name)
        entry.matches.extend(_match(match) for match in rule.matches)
        entry.filters.extend(filter_message(world, namespace, one) for one in rule.filters)
        for ref in rule.backend_refs:
            share = backend(world, namespace, ref, ref.weight)
            share.filters.extend(filter_message(world, namespace, one) for one in ref.filters)
            entry.backends.append(share)
        entry.traffic.CopyFrom(_traffic(route, index, rule, traffic, services))
        persist(route, index, rule, entry)
    return message


def _traffic(
    route: HTTPRoute, index: int, rule: Rule, traffic: list[TrafficPolicy], services: list[Target]
) -> service_pb2.CallTraffic:
    """The rule's own fields before policies on the rule, the route, the Services."""
    meta = route.metadata
    levels = [Target(meta.namespace, "HTTPRoute", meta.name), *services]
    if rule.name:
        levels.insert(0, Target(meta.namespace, "HTTPRoute", meta.name, rule.name))
    own = {
        field: (value, origin(field, route, f"spec.rules[{index}].{path}"))
        for field, path, value in _own(rule)
        if value is not None
    }
    return call_traffic(traffic, levels, meta.namespace, own)


def _own(rule: Rule) -> Iterator[tuple[str, str, Any]]:
    """The settings of a rule by field, each with its path in the rule; None = not set."""
    if rule.timeouts:
        yield "timeouts.request", "timeouts.request", rule.timeouts.request
        yield "timeouts.attempt", "timeouts.backendRequest", rule.timeouts.backend_request
    if rule.retry:
        for name in ("codes", "attempts", "backoff"):
            yield f"retries.{name}", f"retry.{name}", getattr(rule.retry, name)


def _match(match: Match) -> route_pb2.RouteMatch:
    message = route_pb2.RouteMatch(method=match.method or "", headers=header_matches(match.headers))
    message.path.type, message.path.value = TYPES[match.path.type], match.path.value
    for name in dict.fromkeys(param.name for param in match.query_params):
        param = next(one for one in match.query_params if one.name == name)
        message.query.add(name=name, type=TYPES[param.type], value=param.value)
    return message


def header_matches(headers: list[HeaderMatch]) -> list[route_pb2.ValueMatch]:
    """Of several entries for one name the first counts, as the standard says."""
    found: dict[str, route_pb2.ValueMatch] = {}
    for header in headers:
        name = header.name.lower()
        found.setdefault(name, route_pb2.ValueMatch(name=name, type=TYPES[header.type], value=header.value))
    return list(found.values())


def check_route(world: World, stored: StoredObject, route: HTTPRoute, won: Winners) -> Iterator[Problem]:
    """Parents, patterns and backends."""
    yield from check_parents(world, stored, route, won)
    if route.spec.hostnames:
        yield stored.problem(("spec", "hostnames"), "hostnames are ignored on a route of a Service", "note")
    names = [rule.name for rule in route.spec.rules]
    for index, rule in enumerate(route.spec.rules):
        if rule.name and rule.name in names[:index]:
            yield stored.problem(("spec", "rules", index, "name"), f'the rule name "{rule.name}" comes twice')
        yield from _check_rule(world, stored, index, rule)


def _check_rule(world: World, stored: StoredObject, index: int, rule: Rule) -> Iterator[Problem]:
    here: Path = ("spec", "rules", index)
    for j, match in enumerate(rule.matches):
        for path, kind, value in _patterns(match):
            if kind == "RegularExpression":
                try:
                    check_pattern(value)
                except ValueError as error:
                    yield stored.problem((*here, "matches", j, *path), str(error))
    yield from check_backends(world, stored, here, rule.backend_refs, "gets 500 backend_not_found")
    yield from check_persistence(world, stored, here, rule.session_persistence, rule.backend_refs)
    if rule.retry:
        yield stored.problem((*here, "retry"), "retry is in the experimental channel only", "note")
    yield from check_filters(stored, here, rule.filters)
    kinds = {one.type for one in rule.filters}
    if "RequestRedirect" in kinds and rule.backend_refs:
        yield stored.problem((*here, "backendRefs"), "a rule that redirects has no backends; remove one of the two")
    if "RequestRedirect" in kinds and "URLRewrite" in kinds:
        yield stored.problem((*here, "filters"), "RequestRedirect and URLRewrite exclude one another; remove one")
    timeouts = rule.timeouts
    if timeouts and timeouts.request and timeouts.backend_request and timeouts.backend_request > timeouts.request:
        yield stored.problem((*here, "timeouts", "backendRequest"), "must not be longer than timeouts.request")


def _patterns(match: Match) -> Iterator[tuple[Path, str, str]]:
    yield ("path", "value"), match.path.type, match.path.value
    for index, header in enumerate(match.headers):
        yield ("headers", index, "value"), header.type, header.value
    for index, param in enumerate(match.query_params):
        yield ("queryParams", index, "value"), param.type, param.value
