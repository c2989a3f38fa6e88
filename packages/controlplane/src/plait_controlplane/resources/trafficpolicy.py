"""TrafficPolicy: how calls to a Service or route behave."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from plait_controlplane.resources.fields import Duration, HeaderName, Model, ObjectName, Resource, Span, rule
from plait_controlplane.resources.healthcheck import HealthCheck, Percent
from plait_controlplane.resources.session import CookieName, SessionAffinity

Status = Annotated[int, Field(ge=400, le=599)]


class Empty(Model):
    """An object that says all by being there."""


class HashOn(Model):
    """spec.loadBalancer.hashOn: exactly one of these."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "[has(self.header), has(self.cookie), has(self.address), has(self.identity)].filter(x, x).size() == 1",
            "write exactly one of header, cookie, address and identity",
        )
    )

    header: HeaderName | None = None
    cookie: CookieName | None = None
    address: Empty | None = None
    identity: Empty | None = None

    def model_post_init(self, context: Any) -> None:
        """One field alone."""
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("write exactly one of header, cookie, address and identity")


class SlowStart(Model):
    """spec.loadBalancer.slowStart: the share of a new endpoint grows."""

    window: Span


class ZoneAware(Model):
    """spec.loadBalancer.zoneAware: `{}` turns it on."""

    enabled: bool = True
    min_endpoints: Annotated[int, Field(ge=1, le=65535)] = 1


class LoadBalancer(Model):
    """spec.loadBalancer."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "!has(self.hashOn) || !has(self.algorithm) || self.algorithm in ['RingHash', 'Maglev']",
            "hashOn has an effect with the algorithms RingHash and Maglev alone",
        )
    )

    algorithm: Literal["PeakEWMA", "LeastRequest", "RoundRobin", "Random", "RingHash", "Maglev"] | None = None
    hash_on: HashOn | None = None
    slow_start: SlowStart | None = None
    zone_aware: ZoneAware | None = None


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


Count = Annotated[int, Field(ge=1, le=65535)]


class SuccessRate(Model):
    """spec.outlierDetection.successRate: an endpoint below it is ejected."""

    min_percent: Percent
    min_requests: Count = 20
    interval: Span = timedelta(seconds=10)


class OutlierDetection(Model):
    """spec.outlierDetection: `{}` has every default."""

    consecutive_failures: Annotated[int, Field(ge=0, le=1000)] | None = None
    base_ejection: Span | None = None
    max_ejected_percent: Percent | None = None
    success_rate: SuccessRate | None = None


class Connections(Model):
    """spec.connections, from each calling proxy."""

    max: Annotated[int, Field(ge=1, le=2**28)] | None = None
    max_pending: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    max_requests: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class TrafficPolicySpec(Model):
    """spec. The fields typed `Any` are documented and refused until a proxy honours them."""

    target_refs: list[ObjectName] = Field(min_length=1)
    load_balancer: LoadBalancer | None = None
    timeouts: Timeouts | None = None
    retries: Retries | None = None
    outlier_detection: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    connections: Connections | None = None
    rate_limit: Any = None
    fault: Any = None
    session_affinity: SessionAffinity | None = None


class TrafficPolicy(Resource):
    """How calls to a Service or route behave."""

    kind: Literal["TrafficPolicy"]
    spec: TrafficPolicySpec
