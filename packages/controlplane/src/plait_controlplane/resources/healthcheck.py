"""TrafficPolicy's spec.healthCheck: checks that calling proxies make of the endpoints."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from plait_controlplane.resources.fields import Model, Span, rule

PROBES = ("http", "grpc", "tcp")
"""What a check may ask: one of these fields."""

SHORTEST = timedelta(milliseconds=100)
_TARGET = re.compile(
    r"^/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?\Z"
)
_DOTS = re.compile(r"(?:^|/)(?:\.|%2[eE]){1,2}(?:/|\Z)")
_HOST = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?\Z")
_GRPC_SERVICE = re.compile(r"^[A-Za-z0-9_./-]{0,256}\Z")


def _target(value: str) -> str:
    path = value.partition("?")[0]
    if not _TARGET.match(value) or _DOTS.search(path) or "%00" in value:
        raise ValueError(
            f'"{value}" is no path; write one such as /ready, without "." and ".." and with other characters as %XX'
        )
    return value


def _host(value: str) -> str:
    if not _HOST.match(value):
        raise ValueError(f'"{value}" is no host; write a name such as reviews.bookshop, with :PORT if need be')
    return value


def _grpc_service(value: str) -> str:
    if not _GRPC_SERVICE.match(value):
        raise ValueError(f'"{value}" is no name of a gRPC service; write one such as shop.v1.Cart')
    return value


def _long_enough(value: timedelta) -> timedelta:
    if value < SHORTEST:
        raise ValueError("must be at least 100ms: each calling proxy checks each endpoint so often")
    return value


Status = Annotated[int, Field(ge=200, le=599)]
Threshold = Annotated[int, Field(ge=1, le=1000)]
Percent = Annotated[int, Field(ge=0, le=100)]


class HttpCheck(Model):
    """spec.healthCheck.http: a GET."""

    path: Annotated[str, AfterValidator(_target)]
    host: Annotated[str, AfterValidator(_host)] | None = None
    expected_statuses: Annotated[list[Status], Field(min_length=1)] = Field(default_factory=lambda: [200])


class GrpcCheck(Model):
    """spec.healthCheck.grpc: grpc.health.v1.Health/Check; no service = the server as a whole."""

    service: Annotated[str, AfterValidator(_grpc_service)] = ""


class TcpCheck(Model):
    """spec.healthCheck.tcp: a connection that is accepted."""


class HealthCheck(Model):
    """spec.healthCheck: `{}` has every default."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "[has(self.http), has(self.grpc), has(self.tcp)].filter(x, x).size() <= 1",
            "write at most one of http, grpc and tcp",
        )
    )

    interval: Annotated[Span, AfterValidator(_long_enough)] | None = None
    timeout: Span | None = None
    unhealthy_threshold: Threshold | None = None
    healthy_threshold: Threshold | None = None
    min_healthy_percent: Percent | None = None
    http: HttpCheck | None = None
    grpc: GrpcCheck | None = None
    tcp: TcpCheck | None = None

    def model_post_init(self, context: Any) -> None:
        """One kind of check alone."""
        if sum(getattr(self, probe) is not None for probe in PROBES) > 1:
            raise ValueError("write at most one of http, grpc and tcp")
