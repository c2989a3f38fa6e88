"""TrafficPolicy: how calls to a Service or route behave."""

from typing import Annotated, Any, Literal

from pydantic import Field

from plait_controlplane.resources.fields import Duration, Model, ObjectName, Resource

Status = Annotated[int, Field(ge=400, le=599)]


class LoadBalancer(Model):
    """spec.loadBalancer."""

    algorithm: Literal["PeakEWMA", "LeastRequest", "RoundRobin", "Random", "RingHash", "Maglev"] | None = None
    hash_on: dict[str, Any] | None = None
    slow_start: Any = None
    zone_aware: Any = None


class Timeouts(Model):
    """spec.timeouts."""

    request: Duration | None = None
    attempt: Duration | None = None
    idle: Duration | None = None
    connect: Duration | None = None


class Budget(Model):
    """spec.retries.budget."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    interval: Duration | None = None
    min_per_second: Annotated[int, Field(ge=0)] | None = None


class Retries(Model):
    """spec.retries: defaults for routes without their own."""

    codes: list[Status] | None = None
    attempts: Annotated[int, Field(ge=0, le=20)] | None = None
    backoff: Duration | None = None
    budget: Budget | None = None


class TrafficPolicySpec(Model):
    """spec. The fields typed `Any` are documented and refused until a proxy honours them."""

    target_refs: list[ObjectName] = Field(min_length=1)
    load_balancer: LoadBalancer | None = None
    timeouts: Timeouts | None = None
    retries: Retries | None = None
    outlier_detection: Any = None
    health_check: Any = None
    connections: Any = None
    rate_limit: Any = None
    fault: Any = None
    session_affinity: Any = None


class TrafficPolicy(Resource):
    """How calls to a Service or route behave."""

    kind: Literal["TrafficPolicy"]
    spec: TrafficPolicySpec
