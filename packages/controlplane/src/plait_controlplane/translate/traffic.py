"""TrafficPolicies, merged field by field: on a rule, a route, a Service, a namespace, the Mesh.

The nearer wins; at one level the oldest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plait_sdk.contracts import service_pb2

from plait_controlplane.resources.fields import ObjectName
from plait_controlplane.resources.httproute import HTTPRoute
from plait_controlplane.resources.problem import Path, Problem, did_you_mean
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import Retries, TrafficPolicy
from plait_controlplane.resources.world import ROOT_NAMESPACE, World
from plait_controlplane.translate.names import created, duration, object_ref

ALGORITHMS = {
    "PeakEWMA": service_pb2.ALGORITHM_PEAK_EWMA,
    "LeastRequest": service_pb2.ALGORITHM_LEAST_REQUEST,
    "RoundRobin": service_pb2.ALGORITHM_ROUND_ROBIN,
    "Random": service_pb2.ALGORITHM_RANDOM,
}
GATEWAY_GROUP = "gateway.networking.k8s.io"
UNSUPPORTED = ("outlier_detection", "health_check", "connections", "rate_limit", "fault", "session_affinity")


@dataclass(frozen=True)
class Target:
    """What a policy may stand on: a Service, a route, or a rule of it."""

    namespace: str
    kind: str
    name: str
    rule: str = ""


def policies(world: World) -> list[TrafficPolicy]:
    """All TrafficPolicies, oldest first."""
    found = [policy for _, policy in world.kind(TrafficPolicy)]
    return sorted(found, key=lambda p: (created(p.metadata), p.metadata.namespace, p.metadata.name))


def layers(found: list[TrafficPolicy], targets: list[Target], namespace: str) -> Iterator[TrafficPolicy]:
    """The policies that count, the winning one first: by level, then by age."""
    levels: list[list[TrafficPolicy]] = [
        [p for p in found if any(_names(p, ref, t) for ref in p.spec.target_refs)] for t in targets
    ]
    levels.append([p for p in found if p.metadata.namespace == namespace and _kinds(p, "Namespace")])
    levels.append([p for p in found if p.metadata.namespace == ROOT_NAMESPACE and _kinds(p, "Mesh")])
    for level in levels:
        yield from level


def _kinds(policy: TrafficPolicy, kind: str) -> bool:
    return any(ref.kind == kind for ref in policy.spec.target_refs)


def _names(policy: TrafficPolicy, ref: ObjectName, target: Target) -> bool:
    section = ref.section_name or ""
    return (policy.metadata.namespace, ref.kind, ref.name, section) == (
        target.namespace, target.kind, target.name, target.rule
    )  # fmt: skip


def call_traffic(found: list[TrafficPolicy], targets: list[Target], namespace: str) -> service_pb2.CallTraffic:
    """Timeouts and retries of calls to a Service or rule."""
    chain = list(layers(found, targets, namespace))
    message = service_pb2.CallTraffic()
    request, attempt = _first(chain, "timeouts", "request"), _first(chain, "timeouts", "attempt")
    if request:
        message.request_timeout.CopyFrom(duration(request[0]))
        message.origins.append(origin("timeouts.request", request[1]))
    if attempt:
        message.attempt_timeout.CopyFrom(duration(attempt[0]))
        message.origins.append(origin("timeouts.attempt", attempt[1]))
    retries = next(((p.spec.retries, p) for p in chain if p.spec.retries is not None), None)
    if retries and retries[0] is not None:
        message.retries.CopyFrom(retry_message(retries[0]))
        message.origins.append(origin("retries", retries[1]))
    return message


def backend_traffic(found: list[TrafficPolicy], namespace: str, service: str) -> service_pb2.BackendTraffic:
    """How a Service behaves as a chosen backend."""
    chain = list(layers(found, [Target(namespace, "Service", service)], namespace))
    message = service_pb2.BackendTraffic()
    algorithm = _first(chain, "load_balancer", "algorithm")
    if algorithm:
        message.load_balancer.algorithm = ALGORITHMS.get(algorithm[0], service_pb2.ALGORITHM_PEAK_EWMA)
        message.origins.append(origin("loadBalancer.algorithm", algorithm[1]))
    for name, target in (("connect", message.connect_timeout), ("idle", message.idle_timeout)):
        value = _first(chain, "timeouts", name)
        if value:
            target.CopyFrom(duration(value[0]))
            message.origins.append(origin(f"timeouts.{name}", value[1]))
    return message


def _first(chain: list[TrafficPolicy], group: str, name: str) -> tuple[Any, TrafficPolicy] | None:
    for policy in chain:
        value = getattr(getattr(policy.spec, group), name, None)
        if value is not None:
            return value, policy
    return None


def retry_message(retries: Retries) -> service_pb2.Retries:
    """A retries block; what it leaves out has the contract's defaults."""
    message = service_pb2.Retries(
        codes=retries.codes or [], attempts=1 if retries.attempts is None else retries.attempts
    )
    if retries.backoff is not None:
        message.backoff.CopyFrom(duration(retries.backoff))
    if retries.budget is not None:
        budget = retries.budget
        message.budget.percent = 20 if budget.percent is None else budget.percent
        message.budget.min_per_second = 10 if budget.min_per_second is None else budget.min_per_second
        if budget.interval is not None:
            message.budget.interval.CopyFrom(duration(budget.interval))
    return message


def origin(field: str, policy: TrafficPolicy | HTTPRoute, path: str = "") -> service_pb2.Origin:
    """Which object set a field."""
    return service_pb2.Origin(field=field, object=object_ref(policy), path=path or f"spec.{field}")


def check_traffic(world: World, stored: StoredObject, policy: TrafficPolicy) -> Iterator[Problem]:
    """Dangling targets, and what is documented and not honoured yet: refused, never silently ignored."""
    for index, ref in enumerate(policy.spec.target_refs):
        yield from check_target(
            world, stored, ("spec", "targetRefs", index), ref, {"Service", "HTTPRoute", "Namespace", "Mesh"}
        )
    fields = policy.spec.__class__.model_fields
    for name in UNSUPPORTED:
        if getattr(policy.spec, name) is not None:
            alias = str(fields[name].alias)
            yield stored.problem(("spec", alias), f"UnsupportedValue: {alias} is not supported yet; remove it")
    balancer = policy.spec.load_balancer
    if balancer is None:
        return
    if balancer.algorithm in {"RingHash", "Maglev"}:
        message = f"UnsupportedValue: {balancer.algorithm} is not supported yet; write one of {', '.join(ALGORITHMS)}"
        yield stored.problem(("spec", "loadBalancer", "algorithm"), message)
    for alias, value in (
        ("hashOn", balancer.hash_on),
        ("slowStart", balancer.slow_start),
        ("zoneAware", balancer.zone_aware),
    ):
        if value is not None:
            message = f"UnsupportedValue: {alias} is not supported yet; remove it"
            yield stored.problem(("spec", "loadBalancer", alias), message)


def check_target(world: World, stored: StoredObject, path: Path, ref: ObjectName, kinds: set[str]) -> Iterator[Problem]:
    """A target must be of a kind that may be one, stand in the policy's namespace, and exist."""
    namespace = stored.resource.metadata.namespace
    if ref.kind not in kinds:
        yield stored.problem(
            (*path, "kind"), f'"{ref.kind}" cannot be a target here; write one of {", ".join(sorted(kinds))}'
        )
    elif ref.kind == "Mesh":
        if namespace != ROOT_NAMESPACE:
            yield stored.problem(
                (*path, "kind"), f"only policies in the namespace {ROOT_NAMESPACE} may target the Mesh"
            )
    elif ref.namespace not in (None, namespace):
        yield stored.problem((*path, "namespace"), "a policy may target only objects of its own namespace")
    elif ref.kind in {"Service", "HTTPRoute"}:
        yield from _check_named(world, stored, path, ref)


def _check_named(world: World, stored: StoredObject, path: Path, ref: ObjectName) -> Iterator[Problem]:
    namespace = stored.resource.metadata.namespace
    group = GATEWAY_GROUP if ref.kind == "HTTPRoute" else ""
    if ref.group != group:
        yield stored.problem((*path, "group"), f'the group of {ref.kind} is "{group}", not "{ref.group}"')
    found = world.objects.get((ref.kind, namespace, ref.name))
    if found is None:
        others = [name for kind, space, name in world.objects if (kind, space) == (ref.kind, namespace)]
        near = did_you_mean(ref.name, others)
        yield stored.problem((*path, "name"), f"{ref.kind} {namespace}/{ref.name} does not exist{near}")
    elif ref.section_name and isinstance(found.resource, HTTPRoute):
        names = [rule.name for rule in found.resource.spec.rules if rule.name]
        if ref.section_name not in names:
            near = did_you_mean(ref.section_name, names)
            message = f'HTTPRoute {namespace}/{ref.name} has no rule named "{ref.section_name}"{near}'
            yield stored.problem((*path, "sectionName"), message)
