"""Sessions -> the SessionAffinity message. Pure.

What a policy says of a backend, and what a rule of a route says of its own traffic.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from plait_sdk.contracts import route_pb2, service_pb2

from plait_controlplane.resources.grpcroute import GRPCRoute, GRPCRule
from plait_controlplane.resources.httproute import BackendObject, HTTPRoute, Rule
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.session import SessionAffinity, SessionPersistence
from plait_controlplane.resources.world import World
from plait_controlplane.translate.names import duration, object_ref


def session_affinity(value: SessionAffinity, service: str) -> service_pb2.SessionAffinity:
    """Of a backend Service, "namespace/name"."""
    made = service_pb2.SessionAffinity()
    if value.cookie:
        made.cookie.name = value.cookie.name or f"plait-{_digest(service)}"
        made.cookie.path = value.cookie.path
    elif value.header:
        made.header = value.header.name.lower()
    carrier = value.cookie or value.header
    if carrier and carrier.ttl:
        made.ttl.CopyFrom(duration(carrier.ttl))
    return made


def persist(route: HTTPRoute | GRPCRoute, index: int, rule: Rule | GRPCRule, entry: route_pb2.RouteRule) -> None:
    """Says of a rule how its callers come back, and who said so."""
    value = rule.session_persistence
    if value is None:
        return
    made = entry.session_affinity
    name = value.session_name or _name(route, index, rule, value)
    if value.type == "Header":
        made.header = name.lower()
    else:
        made.cookie.name, made.cookie.until_closed = name, not value.permanent
    if value.absolute_timeout:
        made.ttl.CopyFrom(duration(value.absolute_timeout))
    path = f"spec.rules[{index}].sessionPersistence"
    entry.traffic.origins.add(field="sessionPersistence", object=object_ref(route), path=path)


def _name(route: HTTPRoute | GRPCRoute, index: int, rule: Rule | GRPCRule, value: SessionPersistence) -> str:
    """Its own, so that two rules do not take each other's place. Header fields "plait-*" are the mesh's."""
    meta = route.metadata
    digest = _digest(f"{route.kind}/{meta.namespace}/{meta.name}#{rule.name or index}")
    return f"plait-{digest}" if value.type == "Cookie" else f"x-session-{digest}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def check_persistence(
    world: World, stored: StoredObject, path: Path, value: SessionPersistence | None, refs: Sequence[BackendObject]
) -> Iterator[Problem]:
    """What is not honoured is refused, and so is what the standard says excludes it."""
    if value is None:
        return
    if value.idle_timeout is not None:
        message = "UnsupportedValue: idleTimeout is not supported yet; write absoluteTimeout"
        yield stored.problem((*path, "sessionPersistence", "idleTimeout"), message)
    for ref in refs:
        service = world.service(ref.namespace or stored.resource.metadata.namespace, ref.name)
        if service and service.spec.session_affinity == "ClientIP":
            message = f"Service {ref.name} has sessionAffinity ClientIP, which excludes it; write None there"
            yield stored.problem((*path, "sessionPersistence"), message)
    yield stored.problem(
        (*path, "sessionPersistence"), "sessionPersistence is in the experimental channel only", "note"
    )
