"""TCPRoute and TLSRoute of the Gateway API: connections of opaque bytes, spread over backends."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from plait_controlplane.resources.fields import Model, Resource
from plait_controlplane.resources.httproute import BackendObject, ParentRef

_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _hostname(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        if len(value) <= 253 and _HOSTNAME.fullmatch(value):
            return value
        raise ValueError(f'"{value}" is no server name; write for example shop.example.org or *.example.org') from None
    raise ValueError(f'"{value}" is an address; a client of TLS names its server by name')


class StreamBackendRef(BackendObject):
    """rules[i].backendRefs[j]."""

    weight: int = Field(default=1, ge=0, le=1000000)


def _backends(value: list[StreamBackendRef]) -> list[StreamBackendRef]:
    if not 1 <= len(value) <= 16:
        raise ValueError(f"a rule for connections has 1 to 16 backends, not {len(value)}")
    return value


class StreamRule(Model):
    """spec.rules[0]."""

    name: str = ""
    backend_refs: Annotated[list[StreamBackendRef], AfterValidator(_backends)]


def _one(value: list[StreamRule]) -> list[StreamRule]:
    if len(value) != 1:
        raise ValueError(f"a route for connections has one rule, not {len(value)}: nothing chooses between several")
    return value


Rules = Annotated[list[StreamRule], AfterValidator(_one)]


def _some(value: list[str]) -> list[str]:
    if not 1 <= len(value) <= 1024:
        raise ValueError(f"a TLSRoute has 1 to 1024 hostnames, not {len(value)}")
    return value


class TCPRouteSpec(Model):
    """spec."""

    parent_refs: list[ParentRef] = Field(default_factory=list)
    rules: Rules
    use_default_gateways: str | None = None


class TCPRoute(Resource):
    """How connections to a Service are spread over backends."""

    kind: Literal["TCPRoute"]
    spec: TCPRouteSpec


class TLSRouteSpec(Model):
    """spec. Its one rule takes the connections whose client asks for one of the hostnames."""

    parent_refs: list[ParentRef] = Field(default_factory=list)
    hostnames: Annotated[list[Annotated[str, AfterValidator(_hostname)]], AfterValidator(_some)]
    rules: Rules
    use_default_gateways: str | None = None


class TLSRoute(Resource):
    """How connections of TLS to a Service are spread over backends, by the server name that the client asks for."""

    kind: Literal["TLSRoute"]
    spec: TLSRouteSpec
