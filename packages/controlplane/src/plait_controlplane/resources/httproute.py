"""HTTPRoute of the Gateway API, every field of it that a mesh route may have."""

from typing import Annotated, Any, Literal

from pydantic import Field

from plait_controlplane.resources.fields import Duration, HeaderName, Label, Model, Name, Port, Resource
from plait_controlplane.resources.session import SessionPersistence

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f'"{value}" must start with "/"; write "/{value}"')
    return value


class ParentRef(Model):
    """spec.parentRefs[i]: what the route attaches to. Without a port: all ports of the Service."""

    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    namespace: Label | None = None
    name: Name
    section_name: str | None = None
    port: Port | None = None


class PathMatch(Model):
    """matches[i].path."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"

    def model_post_init(self, context: Any) -> None:
        """A path that is compared literally starts with a slash."""
        if self.type != "RegularExpression":
            _path(self.value)


class HeaderMatch(Model):
    """matches[i].headers[j]."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: str


class QueryParamMatch(Model):
    """matches[i].queryParams[j]."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: str = Field(min_length=1)
    value: str


class Match(Model):
    """rules[i].matches[j]: all of it must match."""

    path: PathMatch = PathMatch()
    headers: list[HeaderMatch] = Field(default_factory=list)
    query_params: list[QueryParamMatch] = Field(default_factory=list)
    method: Method | None = None


class Header(Model):
    """A header field to set or add."""

    name: HeaderName
    value: str


class HeaderModifier(Model):
    """requestHeaderModifier, responseHeaderModifier."""

    set: list[Header] = Field(default_factory=list)
    add: list[Header] = Field(default_factory=list)
    remove: list[HeaderName] = Field(default_factory=list)


class PathModifier(Model):
    """How a path changes."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None

    def model_post_init(self, context: Any) -> None:
        """The field must be the one that the type names."""
        wanted = "replaceFullPath" if self.type == "ReplaceFullPath" else "replacePrefixMatch"
        given = {"replaceFullPath": self.replace_full_path, "replacePrefixMatch": self.replace_prefix_match}
        if given[wanted] is None or any(value is not None for name, value in given.items() if name != wanted):
            raise ValueError(f"type {self.type} needs the field {wanted} and no other")


class Redirect(Model):
    """requestRedirect."""

    scheme: Literal["http", "https"] | None = None
    hostname: Name | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class Rewrite(Model):
    """urlRewrite."""

    hostname: Name | None = None
    path: PathModifier | None = None


class BackendObject(Model):
    """A reference to a backend."""

    group: str = ""
    kind: str = "Service"
    name: Name
    namespace: Label | None = None
    port: Port | None = None


class Fraction(Model):
    """fraction of a mirror."""

    numerator: int = Field(ge=0)
    denominator: int = Field(default=100, ge=1)


class Mirror(Model):
    """requestMirror."""

    backend_ref: BackendObject
    percent: int | None = Field(default=None, ge=0, le=100)
    fraction: Fraction | None = None


FILTERS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "RequestMirror": "request_mirror",
}


class Filter(Model):
    """filters[i]: the type, and the field of that type."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: Redirect | None = None
    url_rewrite: Rewrite | None = None
    request_mirror: Mirror | None = None

    def model_post_init(self, context: Any) -> None:
        """The field must be the one that the type names."""
        given = [kind for kind, name in FILTERS.items() if getattr(self, name) is not None]
        if given != [self.type]:
            field = self.__class__.model_fields[FILTERS[self.type]].alias
            raise ValueError(f"type {self.type} needs the field {field} and no other")


class BackendRef(BackendObject):
    """rules[i].backendRefs[j]."""

    weight: int = Field(default=1, ge=0, le=1000000)
    filters: list[Filter] = Field(default_factory=list)


class RouteTimeouts(Model):
    """rules[i].timeouts."""

    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Model):
    """rules[i].retry (experimental channel)."""

    codes: list[Annotated[int, Field(ge=400, le=599)]] | None = None
    attempts: int | None = Field(default=None, ge=0, le=20)
    backoff: Duration | None = None


class Rule(Model):
    """spec.rules[i]."""

    name: str = ""
    matches: list[Match] = Field(default_factory=list)
    filters: list[Filter] = Field(default_factory=list)
    backend_refs: list[BackendRef] = Field(default_factory=list)
    timeouts: RouteTimeouts | None = None
    retry: Retry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(Model):
    """spec."""

    parent_refs: list[ParentRef] = Field(default_factory=list)
    hostnames: list[str] = Field(default_factory=list)
    rules: list[Rule] = Field(default_factory=lambda: [Rule()])
    use_default_gateways: str | None = None


class HTTPRoute(Resource):
    """How HTTP requests to a Service are matched, changed and spread over backends."""

    kind: Literal["HTTPRoute"]
    spec: HTTPRouteSpec
