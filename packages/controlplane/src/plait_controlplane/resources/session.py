"""Sessions: how a caller comes back to the endpoint that answered it.

`sessionAffinity` of a TrafficPolicy, `sessionPersistence` of a route's rule.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from plait_controlplane.resources.fields import Duration, HeaderName, Model, rule


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


class CookieConfig(Model):
    """sessionPersistence.cookieConfig: whether the caller forgets the cookie when it is closed."""

    lifetime_type: Literal["Session", "Permanent"] = "Session"


class SessionPersistence(Model):
    """rules[i].sessionPersistence (experimental channel)."""

    session_name: str | None = Field(default=None, max_length=128)
    absolute_timeout: Seconds | None = None
    idle_timeout: Duration | None = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfig | None = None

    def model_post_init(self, context: Any) -> None:
        """One field restricts another, as the standard says."""
        if self.session_name is not None:
            (_cookie_name if self.type == "Cookie" else _header)(self.session_name)
        if self.cookie_config and self.type == "Header":
            raise ValueError("cookieConfig is for type Cookie alone; remove it")
        if self.permanent and self.absolute_timeout is None:
            raise ValueError("lifetimeType Permanent needs absoluteTimeout; write for example absoluteTimeout: 1h")

    @property
    def permanent(self) -> bool:
        """Whether the caller keeps the cookie when it is closed."""
        return self.cookie_config is not None and self.cookie_config.lifetime_type == "Permanent"


def _header(value: str) -> None:
    if not _HEADER.match(value):
        raise ValueError(f'"{value}" is no header name')
    _session_header(value)


_HEADER = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
