"""Owns what the hooks of the control plane are given and give back.

Plain values: nothing here is on the path of a request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Resource:
    """A user's object, as it was read. `body` is the whole of it: apiVersion, kind, metadata, spec."""

    kind: str
    namespace: str
    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a resource. `path` is that of the field, "spec.rules[0]"; an error refuses, a note is only
    told.
    """

    path: str
    message: str
    severity: Literal["error", "note"] = "error"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a Service is served. `address` is IP address and port; `weight` is against the others of the Service;
    `port` is the name of the Service's port that it serves, "" every one.
    """

    address: str
    weight: int = 1
    zone: str = ""
    port: str = ""


class Watch(Protocol):
    """What `discover` reports to, as often as something changed."""

    def update(self, service: str, endpoints: list[Endpoint]) -> None:
        """Replaces all endpoints of a Service, "namespace/name", that this plugin reported. They count where the
        Service has no selector.

        Raises:
            ValueError: the Service or an endpoint is none; then nothing is replaced.
        """
        ...


@dataclass(frozen=True, slots=True)
class IdentityRequest:
    """A workload that asks for a certificate. A hook may refuse it or shorten its life, never more."""

    identity: str
    namespace: str
    service_account: str
    lifetime_seconds: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What `issue_identity` answers that grants a certificate for at most so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `plait check`: whether something that the plugin needs is there, and what to do if not."""

    name: str
    ok: bool
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A verb `plait <name>`; `run` gets the words that follow and returns the exit code."""

    name: str
    help: str
    run: Callable[[list[str]], int | Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure of the dashboard: a title and a query over the mesh's metrics."""

    title: str
    query: str
    unit: str = ""
