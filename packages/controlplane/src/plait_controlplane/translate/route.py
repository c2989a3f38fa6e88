"""HTTPRoute -> the Route message."""

from collections.abc import Iterator
from typing import Any

from plait_sdk import check_pattern
from plait_sdk.contracts import route_pb2, service_pb2

from plait_controlplane.resources.httproute import (
    BackendObject,
    BackendRef,
    Filter,
    Header,
    HeaderModifier,
    HTTPRoute,
    Match,
    Mirror,
    PathModifier,
    Rule,
)
from plait_controlplane.resources.problem import Path, Problem, did_you_mean
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.world import World
from plait_controlplane.translate.names import created, object_ref
from plait_controlplane.translate.traffic import Target, call_traffic, origin

TYPES = {
    "Exact": route_pb2.MATCH_TYPE_EXACT,
    "PathPrefix": route_pb2.MATCH_TYPE_PREFIX,
    "RegularExpression": route_pb2.MATCH_TYPE_REGEX,
}


def translate_route(world: World, route: HTTPRoute, traffic: list[TrafficPolicy]) -> route_pb2.Route | None:
    """The message; None when no parent of the route is a Service that exists."""
    namespace = route.metadata.namespace
    message = route_pb2.Route(object=object_ref(route), created_unix_seconds=created(route.metadata))
    parents = []
    for parent in route.spec.parent_refs:
        its = parent.namespace or namespace
        if (parent.group, parent.kind) == ("", "Service") and world.service(its, parent.name):
            parents.append(Target(its, "Service", parent.name))
            consumer = "" if its == namespace else namespace
            message.parents.add(service=f"{its}/{parent.name}", port=parent.port or 0, consumer_namespace=consumer)
    if not parents:
        return None
    for index, rule in enumerate(route.spec.rules):
        entry = message.rules.add(name=rule.name)
        entry.matches.extend(_match(match) for match in rule.matches)
        entry.filters.extend(_filter(world, namespace, one) for one in rule.filters)
        entry.backends.extend(_backend(world, namespace, ref) for ref in rule.backend_refs)
        entry.traffic.CopyFrom(_traffic(route, index, rule, traffic, parents))
    return message


def _traffic(
    route: HTTPRoute, index: int, rule: Rule, traffic: list[TrafficPolicy], parents: list[Target]
) -> service_pb2.CallTraffic:
    """The rule's own fields before policies on the rule, the route, the Services."""
    meta = route.metadata
    levels = [Target(meta.namespace, "HTTPRoute", meta.name), *parents]
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
    message = route_pb2.RouteMatch(method=match.method or "")
    message.path.type, message.path.value = TYPES[match.path.type], match.path.value
    seen: set[str] = set()
    for header in match.headers:
        # Of several entries for one name the first counts, as the standard says.
        if header.name.lower() not in seen:
            seen.add(header.name.lower())
            message.headers.add(name=header.name.lower(), type=TYPES[header.type], value=header.value)
    for name in dict.fromkeys(param.name for param in match.query_params):
        param = next(one for one in match.query_params if one.name == name)
        message.query.add(name=name, type=TYPES[param.type], value=param.value)
    return message


def _filter(world: World, namespace: str, one: Filter) -> route_pb2.Filter:
    message = route_pb2.Filter()
    if one.request_header_modifier:
        message.request_headers.CopyFrom(_modifier(one.request_header_modifier))
    if one.response_header_modifier:
        message.response_headers.CopyFrom(_modifier(one.response_header_modifier))
    if one.request_redirect:
        redirect = one.request_redirect
        message.redirect.scheme, message.redirect.hostname = redirect.scheme or "", redirect.hostname or ""
        message.redirect.port, message.redirect.status = redirect.port or 0, redirect.status_code
        _path(redirect.path, message.redirect)
    if one.url_rewrite:
        message.rewrite.hostname = one.url_rewrite.hostname or ""
        _path(one.url_rewrite.path, message.rewrite)
    if one.request_mirror:
        message.mirror.CopyFrom(_mirror(world, namespace, one.request_mirror))
    return message


def _path(path: PathModifier | None, message: route_pb2.Redirect | route_pb2.UrlRewrite) -> None:
    if path and path.replace_full_path is not None:
        message.path.full = path.replace_full_path
    elif path and path.replace_prefix_match is not None:
        message.path.prefix = path.replace_prefix_match


def _mirror(world: World, namespace: str, mirror: Mirror) -> route_pb2.Mirror:
    message = route_pb2.Mirror(backend=_reference(world, namespace, mirror.backend_ref))
    if mirror.percent is not None:
        message.numerator, message.denominator = mirror.percent, 100
    elif mirror.fraction:
        message.numerator, message.denominator = mirror.fraction.numerator, mirror.fraction.denominator
    return message


def _modifier(modifier: HeaderModifier) -> route_pb2.HeaderModifier:
    def pairs(headers: list[Header]) -> list[route_pb2.Header]:
        return [route_pb2.Header(name=header.name.lower(), value=header.value) for header in headers]

    removed = [name.lower() for name in modifier.remove]
    return route_pb2.HeaderModifier(set=pairs(modifier.set), add=pairs(modifier.add), remove=removed)


def _backend(world: World, namespace: str, ref: BackendRef) -> route_pb2.Backend:
    message = _reference(world, namespace, ref)
    message.weight = ref.weight
    message.filters.extend(_filter(world, namespace, one) for one in ref.filters)
    return message


def _reference(world: World, namespace: str, ref: BackendObject) -> route_pb2.Backend:
    found = wrong_backend(world, namespace, ref)
    service = f"{ref.namespace or namespace}/{ref.name}"
    return route_pb2.Backend(service=service, port=ref.port or 0, invalid=found[1] if found else "")


def wrong_backend(world: World, namespace: str, ref: BackendObject) -> tuple[str, str] | None:
    """The field and the reason why a backend cannot serve; None when it can."""
    its = ref.namespace or namespace
    if (ref.group, ref.kind) != ("", "Service"):
        return "kind", f"{ref.kind} cannot be a backend; write a Service"
    service = world.service(its, ref.name)
    if service is None:
        near = did_you_mean(
            ref.name, [name for kind, space, name in world.objects if (kind, space) == ("Service", its)]
        )
        return "name", f"Service {its}/{ref.name} does not exist{near}"
    ports = [str(port.port) for port in service.spec.carried]
    if ref.port is None:
        return "port", f"a backend Service needs a port; {its}/{ref.name} has {', '.join(ports)}"
    if str(ref.port) not in ports:
        return "port", f"Service {its}/{ref.name} has no port {ref.port}; it has {', '.join(ports)}"
    return None


def check_route(world: World, stored: StoredObject, route: HTTPRoute) -> Iterator[Problem]:
    """Parents, patterns and backends."""
    namespace = route.metadata.namespace
    for index, parent in enumerate(route.spec.parent_refs):
        path = ("spec", "parentRefs", index)
        if (parent.group, parent.kind) != ("", "Service"):
            message = 'UnsupportedValue: only Services are parents yet; write group: "", kind: Service'
            yield stored.problem((*path, "kind"), message)
            continue
        found = wrong_backend(
            world, namespace, BackendObject(name=parent.name, namespace=parent.namespace, port=parent.port)
        )
        if found and not (found[0] == "port" and parent.port is None):
            yield stored.problem((*path, found[0]), found[1])
    if not route.spec.parent_refs:
        yield stored.problem(("spec",), "the route has no parentRefs: it shapes nothing", "note")
    if route.spec.hostnames:
        yield stored.problem(("spec", "hostnames"), "hostnames are ignored on a route of a Service", "note")
    names = [rule.name for rule in route.spec.rules]
    for index, rule in enumerate(route.spec.rules):
        if rule.name and rule.name in names[:index]:
            yield stored.problem(("spec", "rules", index, "name"), f'the rule name "{rule.name}" comes twice')
        yield from _check_rule(world, stored, namespace, index, rule)


def _check_rule(world: World, stored: StoredObject, namespace: str, index: int, rule: Rule) -> Iterator[Problem]:
    here: Path = ("spec", "rules", index)
    for j, match in enumerate(rule.matches):
        for path, kind, value in _patterns(match):
            if kind == "RegularExpression":
                try:
                    check_pattern(value)
                except ValueError as error:
                    yield stored.problem((*here, "matches", j, *path), str(error))
    for j, ref in enumerate(rule.backend_refs):
        found = wrong_backend(world, namespace, ref)
        if found:
            yield stored.problem(
                (*here, "backendRefs", j, found[0]), f"{found[1]}; its share gets 500 backend_not_found"
            )
    if rule.session_persistence is not None:
        yield stored.problem((*here, "sessionPersistence"), "UnsupportedValue: not supported yet; remove it")
    if rule.retry:
        yield stored.problem((*here, "retry"), "retry is in the experimental channel only", "note")
    kinds = [one.type for one in rule.filters]
    for j, kind in enumerate(kinds):
        if kind != "RequestMirror" and kind in kinds[:j]:
            yield stored.problem((*here, "filters", j, "type"), f"{kind} may come once in a rule")
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
