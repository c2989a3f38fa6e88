"""Mesh: what is true everywhere. There is one, named default."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from plait_controlplane.resources.fields import Duration, Model, Resource, rule


def _trust_domain(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?", value):
        raise ValueError(f'"{value}" is no trust domain; use lower-case letters, digits, ".", "-" and "_"')
    return value


class Mtls(Model):
    """spec.mtls."""

    mode: Literal["Strict", "Permissive"] = "Strict"


class Certificates(Model):
    """spec.certificates."""

    lifetime: Duration = timedelta(hours=24)


class AccessLog(Model):
    """spec.telemetry.accessLog."""

    format: Literal["JSON", "Off"] = "JSON"
    filter: Literal["All", "Errors"] = "All"


class Metrics(Model):
    """spec.telemetry.metrics: `listen` is a TCP address for /metrics and /ready."""

    listen: str = ""


class Tracing(Model):
    """spec.telemetry.tracing: `sampling` is the share of new traces that carry the sampled flag."""

    sampling: Annotated[float, Field(ge=0, le=1)] = 1.0
    endpoint: str = ""


class Telemetry(Model):
    """spec.telemetry."""

    access_log: AccessLog = AccessLog()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()


class Limits(Model):
    """spec.proxy.limits; absent = the proxy's default."""

    head_bytes: int | None = Field(default=None, ge=1024, le=1048576)
    headers: int | None = Field(default=None, ge=8, le=256)
    connections: int | None = Field(default=None, ge=1)
    buffered_bytes: int | None = Field(default=None, ge=0)


class Proxy(Model):
    """spec.proxy."""

    limits: Limits = Limits()


class MeshSpec(Model):
    """spec."""

    trust_domain: Annotated[str, AfterValidator(_trust_domain)] = "cluster.local"
    mtls: Mtls = Mtls()
    certificates: Certificates = Certificates()
    default_policy: Literal["AllowAuthenticated", "DenyAll", "AllowAll"] = "AllowAuthenticated"
    egress: Literal["Allow", "Deny"] = "Allow"
    telemetry: Telemetry = Telemetry()
    proxy: Proxy = Proxy()


class Mesh(Resource):
    """What is true in the whole mesh."""

    model_config = ConfigDict(
        json_schema_extra=rule("self.metadata.name == 'default'", 'there is one Mesh and its name is "default"')
    )

    kind: Literal["Mesh"]
    spec: MeshSpec = MeshSpec()

    def model_post_init(self, context: Any) -> None:
        """Refuses a second Mesh by its name."""
        if self.metadata.name != "default":
            raise ValueError(f'there is one Mesh and its name is "default", not "{self.metadata.name}"')
