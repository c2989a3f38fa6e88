"""TrafficPolicies, merged field by field: on a rule, a route, a Service, a namespace, the Mesh.

The nearer wins; at one level the oldest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plait_sdk.contracts import service_pb2
from pydantic.alias_generators import to_snake

from plait_controlplane.resources.fields import ObjectName
from plait_controlplane.resources.grpcroute import GRPCRoute
from plait_controlplane.resources.httproute import HTTPRoute
from plait_controlplane.resources.problem import Path, Problem, did_you_mean
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.world import ROOT_NAMESPACE, World
from plait_controlplane.translate.names import created, duration, object_ref

CALLS = (
    "timeouts.request",
    "timeouts.attempt",
    "retries.codes",
    "retries.attempts",
    "retries.backoff",
    "retries.budget.percent",
    "retries.budget.interval",
    "retries.budget.minPerSecond",
)
"""Settings of calls, each merged on its own."""

Own = Mapping[str, tuple[Any, service_pb2.Origin]]
"""Settings by field, with who set them."""

GATEWAY_GROUP = "gateway.networking.k8s.io"
ROUTES = {"HTTPRoute", "GRPCRoute"}
"""Routes whose calls have timeouts and retries."""
TARGETS = {"Service", "Namespace", "Mesh", *ROUTES}
UNSUPPORTED = ("rate_limit", "fault")


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


def call_traffic(
    found: list[TrafficPolicy], targets: list[Target], namespace: str, own: Own
) -> service_pb2.CallTraffic:
    """Timeouts and retries of calls to a Service or rule. `own` are the settings of the rule itself: they win."""
    chain = list(layers(found, targets, namespace))
    settings = {field: one for field in CALLS if (one := own.get(field) or first(chain, field)) is not None}
    message = service_pb2.CallTraffic(origins=[origin for _, origin in settings.values()])
    values = {field: value for field, (value, _) in settings.items()}
    for field, target in (("timeouts.request", message.request_timeout), ("timeouts.attempt", message.attempt_timeout)):
        # A timeout of zero means none, as the standard says.
        if values.get(field):
            target.CopyFrom(duration(values[field]))
    if any(field.startswith("retries.") for field in values):
        message.retries.CopyFrom(_retries(values))
    return message


def first(chain: list[TrafficPolicy], field: str) -> tuple[Any, service_pb2.Origin] | None:
    """The setting of the first policy that has one."""
    for policy in chain:
        value: Any = policy.spec
        for name in field.split("."):
            value = getattr(value, to_snake(name), None)
        if value is not None:
            return value, origin(field, policy)
    return None


def _retries(values: dict[str, Any]) -> service_pb2.Retries:
    """What no setting says has the contract's defaults."""
    found = {field.removeprefix("retries."): value for field, value in values.items()}
    message = service_pb2.Retries(codes=found.get("codes", []), attempts=found.get("attempts", 1))
    if "backoff" in found:
        message.backoff.CopyFrom(duration(found["backoff"]))
    if any(field.startswith("budget.") for field in found):
        message.budget.percent = found.get("budget.percent", 20)
        message.budget.min_per_second = found.get("budget.minPerSecond", 10)
        if "budget.interval" in found:
            message.budget.interval.CopyFrom(duration(found["budget.interval"]))
    return message


def origin(field: str, policy: TrafficPolicy | HTTPRoute, path: str = "") -> service_pb2.Origin:
    """Which object set a field."""
    return service_pb2.Origin(field=field, object=object_ref(policy), path=path or f"spec.{field}")


def check_traffic(world: World, stored: StoredObject, policy: TrafficPolicy) -> Iterator[Problem]:
    """Dangling targets, and what is documented and not honoured yet: refused, never silently ignored."""
    for index, ref in enumerate(policy.spec.target_refs):
        yield from check_target(world, stored, ("spec", "targetRefs", index), ref, TARGETS)
    fields = policy.spec.__class__.model_fields
    for name in UNSUPPORTED:
        if getattr(policy.spec, name) is not None:
            alias = str(fields[name].alias)
            yield stored.problem(("spec", alias), f"UnsupportedValue: {alias} is not supported yet; remove it")


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
    elif ref.kind in {"Service", *ROUTES}:
        yield from _check_named(world, stored, path, ref)


def _check_named(world: World, stored: StoredObject, path: Path, ref: ObjectName) -> Iterator[Problem]:
    namespace = stored.resource.metadata.namespace
    group = GATEWAY_GROUP if ref.kind in ROUTES else ""
    if ref.group != group:
        yield stored.problem((*path, "group"), f'the group of {ref.kind} is "{group}", not "{ref.group}"')
    found = world.objects.get((ref.kind, namespace, ref.name))
    if found is None:
        others = [name for kind, space, name in world.objects if (kind, space) == (ref.kind, namespace)]
        near = did_you_mean(ref.name, others)
        yield stored.problem((*path, "name"), f"{ref.kind} {namespace}/{ref.name} does not exist{near}")
    elif ref.section_name and isinstance(found.resource, HTTPRoute | GRPCRoute):
        names = [rule.name for rule in found.resource.spec.rules if rule.name]
        if ref.section_name not in names:
            near = did_you_mean(ref.section_name, names)
            message = f'{ref.kind} {namespace}/{ref.name} has no rule named "{ref.section_name}"{near}'
            yield stored.problem((*path, "sectionName"), message)
