"""TrafficPolicy: how calls to a Service or route behave."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from plait_controlplane.resources.fields import Duration, HeaderName, Model, ObjectName, Resource, Span, rule
from plait_controlplane.resources.healthcheck import HealthCheck, Percent

Status = Annotated[int, Field(ge=400, le=599)]


def _cookie_name(value: str) -> str:
    if not _COOKIE.match(value):
        raise ValueError(f'"{value}" is no name of a cookie')
    return value


_COOKIE = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
CookieName = Annotated[str, AfterValidator(_cookie_name)]


def _seconds(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1) or value % timedelta(seconds=1):
        raise ValueError("must be whole seconds, at least 1s")
    return value


Seconds = Annotated[Duration, AfterValidator(_seconds)]


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


def _cookie_path(value: str) -> str:
    if not _COOKIE_PATH.match(value):
        raise ValueError(f'"{value}" is no path of a cookie; write for example "/" or "/cart", without ";"')
    return value


_COOKIE_PATH = re.compile(r"^/[\x21-\x3a\x3c-\x7e]{0,255}\Z")


def _session_header(value: str) -> str:
    if value.lower() in _TAKEN or value.lower().startswith("plait-"):
        raise ValueError(f'"{value}" means something else; write a name of its own, for example x-session')
    return value


_TAKEN = {
    "accept", "authority", "authorization", "connection", "content-encoding", "content-length", "content-type",
    "cookie", "date", "expect", "grpc-message", "grpc-status", "grpc-timeout", "host", "keep-alive", "location",
    "retry-after", "set-cookie", "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Fields of requests or answers that have a meaning, and that a session would take from them."""


class SessionCookie(Model):
    """spec.sessionAffinity.cookie: `{}` has every default. Without `ttl` it ends with the browser."""

    name: CookieName | None = None
    path: Annotated[str, AfterValidator(_cookie_path)] = "/"
    ttl: Seconds | None = None


class SessionHeader(Model):
    """spec.sessionAffinity.header: a field of answers that the caller repeats."""

    name: Annotated[HeaderName, AfterValidator(_session_header)]
    ttl: Seconds | None = None


class SessionAffinity(Model):
    """spec.sessionAffinity: exactly one of these."""

    model_config = ConfigDict(
        json_schema_extra=rule("has(self.cookie) != has(self.header)", "write exactly one of cookie and header")
    )

    cookie: SessionCookie | None = None
    header: SessionHeader | None = None

    def model_post_init(self, context: Any) -> None:
        """One field alone."""
        if (self.cookie is None) == (self.header is None):
            raise ValueError("write exactly one of cookie and header")


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
