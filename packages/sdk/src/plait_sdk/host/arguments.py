"""Owns how the arguments of a hook are made of a call: one maker a name, chosen once when a chain is compiled.

Called by `dispatch` for each step.
"""

from collections.abc import Callable, Sequence
from typing import Any

from plait_sdk.calls import Call
from plait_sdk.headers import Headers
from plait_sdk.scope import Scope
from plait_sdk.types import (
    Attempt,
    Body,
    Candidates,
    Connection,
    LogRecord,
    Request,
    Response,
    destination_of,
    outcome_of,
    peer_of,
)

Maker = Callable[[Call, Scope], Any]


def makers(hook: str, takes: Sequence[str]) -> tuple[Maker, ...]:
    """The makers of the arguments that a hook takes, in its order."""
    return tuple(_body_of(hook) if name == "body" else MAKERS[name] for name in takes)


def log_record(call: Call, scope: Scope) -> LogRecord:
    """One record of `on_log`."""
    return LogRecord(Request(call, scope), outcome_of(call))


def _trailers(call: Call, scope: Scope) -> Headers:
    return Headers(call.trailers(scope.trailers), scope, "trailers")


def _attempt(call: Call, scope: Scope) -> Attempt:
    return Attempt(call.attempt or 1, call.status, call.reason)


def _body_of(hook: str) -> Maker:
    if hook == "on_response_body":
        return lambda call, scope: Body(
            call, scope, scope.writes.response_body and scope.reads.response_body.mode != "peek"
        )
    return lambda call, scope: Body(call, scope, scope.writes.body and scope.reads.body.mode != "peek")


MAKERS: dict[str, Maker] = {
    "request": Request,
    "response": Response,
    "peer": lambda call, scope: peer_of(call),
    "destination": lambda call, scope: destination_of(call),
    "connection": lambda call, scope: Connection(peer_of(call), destination_of(call)),
    "outcome": lambda call, scope: outcome_of(call),
    "candidates": lambda call, scope: Candidates(call.candidates),
    "endpoints": lambda call, scope: list(call.candidates),
    "attempt": _attempt,
    "trailers": _trailers,
}
"""Of all arguments of hooks that have a phase, but `body` and `records`."""
