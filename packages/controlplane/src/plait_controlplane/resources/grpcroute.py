"""GRPCRoute of the Gateway API, every field of it that a mesh route may have."""

import re
from typing import Any, Literal

from pydantic import Field

from plait_controlplane.resources.fields import Model, Resource
from plait_controlplane.resources.httproute import BackendObject, HeaderMatch, HeaderModifier, Mirror, ParentRef
from plait_controlplane.resources.session import SessionPersistence

SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class MethodMatch(Model):
    """matches[i].method: service and method, at least one of them; what is absent matches any."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: str | None = None
    method: str | None = None

    def model_post_init(self, context: Any) -> None:
        """What is compared literally must be a name that gRPC can have."""
        if not self.service and not self.method:
            raise ValueError("write service, method, or both; without any of them leave the method match out")
        if self.type == "RegularExpression":
            return
        if self.service and not SERVICE.fullmatch(self.service):
            raise ValueError(f'"{self.service}" is no gRPC service; write for example shop.v1.Cart')
        if self.method and not METHOD.fullmatch(self.method):
            raise ValueError(f'"{self.method}" is no gRPC method; write for example AddItem')


class GRPCMatch(Model):
    """rules[i].matches[j]: all of it must match."""

    method: MethodMatch | None = None
    headers: list[HeaderMatch] = Field(default_factory=list)


GRPC_FILTERS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
}


class GRPCFilter(Model):
    """filters[i]: the type, and the field of that type."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: Mirror | None = None

    def model_post_init(self, context: Any) -> None:
        """The field must be the one that the type names."""
        given = [kind for kind, name in GRPC_FILTERS.items() if getattr(self, name) is not None]
        if given != [self.type]:
            field = self.__class__.model_fields[GRPC_FILTERS[self.type]].alias
            raise ValueError(f"type {self.type} needs the field {field} and no other")


class GRPCBackendRef(BackendObject):
    """rules[i].backendRefs[j]."""

    weight: int = Field(default=1, ge=0, le=1000000)
    filters: list[GRPCFilter] = Field(default_factory=list)


class GRPCRule(Model):
    """spec.rules[i]."""

    name: str = ""
    matches: list[GRPCMatch] = Field(default_factory=list)
    filters: list[GRPCFilter] = Field(default_factory=list)
    backend_refs: list[GRPCBackendRef] = Field(default_factory=list)
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(Model):
    """spec."""

    parent_refs: list[ParentRef] = Field(default_factory=list)
    hostnames: list[str] = Field(default_factory=list)
    rules: list[GRPCRule] = Field(default_factory=lambda: [GRPCRule()])
    use_default_gateways: str | None = None


class GRPCRoute(Resource):
    """How gRPC requests to a Service are matched, changed and spread over backends."""

    kind: Literal["GRPCRoute"]
    spec: GRPCRouteSpec
