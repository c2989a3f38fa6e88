"""Owns what hooks are given: lazy views of a request, its response, its bodies, its caller and where it goes.

Made by the worker for one hook of one plugin each, and of no use after it. A value is decoded when it is read;
reading what the plugin did not declare raises UndeclaredError.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait_sdk.calls import Call
from plait_sdk.headers import Headers
from plait_sdk.scope import Scope


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls, as proven by its certificate; every field but the address is None for a caller without one."""

    identity: str | None
    """The SPIFFE identity, such as "spiffe://shop.example/ns/shop/sa/web"."""
    namespace: str | None
    service_account: str | None
    address: str | None
    """IP address and port."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What is called."""

    workload: str | None
    """The workload that serves, "namespace/name"; None at the caller's side before one is chosen."""
    service: str | None
    """The Service, "namespace/name"."""
    port: int | None


class Attributes(Mapping[str, str]):
    """Notes on one request, kept by the proxy from hook to hook and shared by the plugins of a chain. They never
    leave it.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __getitem__(self, name: str) -> str:
        return self._call.attributes()[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._call.set_attribute(name, value)

    def __iter__(self) -> Any:
        return iter(self._call.attributes())

    def __len__(self) -> int:
        return len(self._call.attributes())


class Request:
    """A request on its way to the backend, as the route left it."""

    __slots__ = ("_call", "_headers", "_scope")

    def __init__(self, call: Call, scope: Scope) -> None:
        self._call = call
        self._scope = scope
        self._headers: Headers | None = None

    @property
    def id(self) -> str | None:
        """The id of the request in logs and traces."""
        return self._call.request_id

    @property
    def route(self) -> str | None:
        """The route that serves it, "namespace/name", None for the implicit one."""
        return self._call.route

    @property
    def method(self) -> str:
        """Such as "GET". Needs `Reads(method=True)`; may be replaced with `Writes(method=True)`."""
        if not self._scope.reads.method:
            self._scope.refuse_read("request.method", "method=True")
        return self._call.method or ""

    @method.setter
    def method(self, value: str) -> None:
        if not self._scope.writes.method:
            self._scope.refuse_write("request.method", "method=True")
        self._call.method = value

    @property
    def path(self) -> str:
        """From the first "/", without the query, as it was sent. Needs `Reads(path=True)`; `Writes(path=True)` to
        replace.
        """
        if not self._scope.reads.path:
            self._scope.refuse_read("request.path", "path=True")
        return self._call.path or ""

    @path.setter
    def path(self, value: str) -> None:
        if not self._scope.writes.path:
            self._scope.refuse_write("request.path", "path=True")
        if not value.startswith("/"):
            raise ValueError(f'a path starts with "/", not {value!r}')
        self._call.path = value

    @property
    def query(self) -> str:
        """What follows "?", as it was sent, "" without one. Needs `Reads(query=True)`; `Writes(query=True)` to
        replace.
        """
        if not self._scope.reads.query:
            self._scope.refuse_read("request.query", "query=True")
        return self._call.query or ""

    @query.setter
    def query(self, value: str) -> None:
        if not self._scope.writes.query:
            self._scope.refuse_write("request.query", "query=True")
        self._call.query = value

    @property
    def authority(self) -> str:
        """Host and port, as called. Needs `Reads(authority=True)`; `Writes(authority=True)` to replace."""
        if not self._scope.reads.authority:
            self._scope.refuse_read("request.authority", "authority=True")
        return self._call.authority or ""

    @authority.setter
    def authority(self, value: str) -> None:
        if not self._scope.writes.authority:
            self._scope.refuse_write("request.authority", "authority=True")
        self._call.authority = value

    @property
    def scheme(self) -> str:
        """ "http" or "https". Needs `Reads(authority=True)`."""
        if not self._scope.reads.authority:
            self._scope.refuse_read("request.scheme", "authority=True")
        return self._call.scheme or "http"

    @property
    def headers(self) -> Headers:
        """Its headers; each name that is read stands in `Reads(headers=…)`, each that is changed in
        `Writes(headers=…)`.
        """
        if self._headers is None:
            self._headers = Headers(self._call.request_headers(self._scope.request), self._scope)
        return self._headers

    @property
    def peer(self) -> Peer:
        """Who calls. Needs `Reads(peer=True)`."""
        if not self._scope.reads.peer:
            self._scope.refuse_read("request.peer", "peer=True")
        return peer_of(self._call)

    @property
    def destination(self) -> Destination:
        """What is called. Needs `Reads(destination=True)`."""
        if not self._scope.reads.destination:
            self._scope.refuse_read("request.destination", "destination=True")
        return destination_of(self._call)

    @property
    def claims(self) -> Mapping[str, Any]:
        """What `authenticate` of this chain found out about the caller, for the hooks of the same crossing.

        Empty when there is nothing, and in later hooks: note what they need in `attributes`.
        """
        return json.loads(self._call.claims) if self._call.claims else {}

    @property
    def attributes(self) -> Attributes:
        """Notes that are kept until the request is over: what `on_request` writes, `on_response` reads."""
        return Attributes(self._call)


class Response:
    """A response on its way to the caller."""

    __slots__ = ("_call", "_headers", "_scope")

    def __init__(self, call: Call, scope: Scope) -> None:
        self._call = call
        self._scope = scope
        self._headers: Headers | None = None

    @property
    def status(self) -> int:
        """The status; always there."""
        return self._call.status or 0

    @property
    def headers(self) -> Headers:
        """Its headers, as declared in `Reads(response_headers=…)` and `Writes(response_headers=…)`."""
        if self._headers is None:
            fields = self._call.response_headers(self._scope.response)
            self._headers = Headers(fields, self._scope, "response_headers")
        return self._headers


class Body:
    """One piece of a body: the start (`peek`), a chunk (`stream`) or all of it (`buffer`), as the plugin declared."""

    __slots__ = ("_call", "_may_write", "_scope")

    def __init__(self, call: Call, scope: Scope, may_write: bool) -> None:
        self._call = call
        self._scope = scope
        self._may_write = may_write

    @property
    def data(self) -> bytes:
        """The bytes; may be empty at the end of a body."""
        return self._call.body or b""

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self._call.last

    def replace(self, data: bytes) -> None:
        """Sends `data` in place of this piece. Needs `Writes(body=True)` or `Writes(response_body=True)`, and no
        `peek`.
        """
        if not self._may_write:
            self._scope.refuse_write("a body", "body=True or response_body=True")
        self._call.body = bytes(data)


class Candidates(Sequence[str]):
    """The backends of the rule that was matched and that can serve, "namespace/name", in the order of the route. Where
    the rule has several ports of a Service they are told apart as "namespace/name:port".
    """

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def __getitem__(self, index: Any) -> Any:
        return self._names[index]

    def __len__(self) -> int:
        return len(self._names)

    def named(self, name: str) -> str | None:
        """The candidate of that name, with or without its namespace; None when there is none."""
        return next((each for each in self._names if name in (each, each.rpartition("/")[2])), None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that failed."""

    number: int
    """1 for the first."""
    status: int | None
    """What the endpoint answered; None when it did not."""
    reason: str | None
    """Why there was no answer, a word of docs/reference/reasons.md."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request or a connection ended."""

    status: int | None
    reason: str | None
    """Why the mesh answered in place of the backend; None when it did not."""
    duration_seconds: float
    bytes_in: int
    """From the caller."""
    bytes_out: int
    """To the caller."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A request that ended, for the hooks that write logs."""

    request: Request
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that is judged and carried as bytes."""

    peer: Peer
    destination: Destination


def peer_of(call: Call) -> Peer:
    """The peer of a call."""
    return Peer(call.peer_identity, call.peer_namespace, call.peer_service_account, call.peer_address)


def destination_of(call: Call) -> Destination:
    """The destination of a call."""
    return Destination(call.workload, call.service, call.port)


def outcome_of(call: Call) -> Outcome:
    """The end that a call tells of."""
    seconds = (call.duration_micros or 0) / 1_000_000
    return Outcome(call.status, call.reason, seconds, call.bytes_in or 0, call.bytes_out or 0)
