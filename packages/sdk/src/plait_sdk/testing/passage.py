"""Owns the way of one request through the phases of a chain, with a backend at its end, as the proxy would lead it.

Called by the harness. It holds no hooks and judges nothing: it makes calls, reads their effects and carries them on.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plait_sdk.calls import Phase
from plait_sdk.host.memory import Answer, MemoryCall
from plait_sdk.manager import Chain
from plait_sdk.markers import BodyMode
from plait_sdk.testing.exchange import Answered, Exchange, Failure, Lines
from plait_sdk.verdict import Continue, Deny, Reply

Backend = Callable[[Exchange], Reply]
Facts = dict[str, Any]
Pairs = list[tuple[str, str]]
FIELDS = ("method", "path", "query", "authority")
STRENGTH = ("none", "peek", "stream", "buffer")
"""Modes of bodies, weakest first: the strongest of a chain holds for all of it."""


def answer_ok(exchange: Exchange) -> Reply:
    """The backend of those who need none: 200 without a body."""
    return Reply(200)


class Passage:
    """One request under way. `cross` runs one crossing, `facts` are the fields that calls are made with."""

    def __init__(
        self, chain: Chain, cross: Callable[[MemoryCall], Answer], facts: Facts, headers: Pairs, backend: Backend
    ) -> None:
        self.chain = chain
        self.cross = cross
        self.facts = facts
        self.headers = headers
        self.backend = backend
        self.exchange = Exchange(Continue())
        self.kept: Pairs = []
        self.response_changes: list[tuple[str, str, str | None]] = []

    def run(self, chunks: Sequence[bytes]) -> Exchange:
        """Leads the request to the backend and the response back, or to the verdict that ends it."""
        if self._head() and self._body(chunks):
            reply = self.backend(self.exchange)
            self._response(reply)
        self._complete()
        return self.exchange

    def _head(self) -> bool:
        call = self._call(Phase.REQUEST)
        goes_on = self._ask(call)
        for name in FIELDS:
            setattr(self.exchange, name, self.facts.get(name) or "")
        self.exchange.sent = Lines(self.headers)
        self.exchange.claims = json.loads(self.facts["claims"]) if self.facts.get("claims") else {}
        return goes_on

    def _body(self, chunks: Sequence[bytes]) -> bool:
        modes = [loaded.scope.reads.body for loaded in self.chain.plugins]
        sent = self._pieces(Phase.REQUEST_BODY, modes, chunks)
        if sent is None:
            return False
        self.exchange.sent_body = sent
        return True

    def _response(self, reply: Reply) -> None:
        pairs = [(name.lower(), value) for name, value in reply.headers.items()]
        pairs = _changed(pairs, self.response_changes)
        call = self._call(Phase.RESPONSE, response_headers=pairs, status=reply.status)
        if not self._ask(call):
            return
        self.exchange.response = Answered(
            call.values.get("status", reply.status), Lines(call.sections["response_header"]), b""
        )
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        modes = [loaded.scope.reads.response_body for loaded in self.chain.plugins]
        sent = self._pieces(Phase.RESPONSE_BODY, modes, [body])
        if sent is not None:
            self.exchange.response.body = sent

    def _complete(self) -> None:
        status = self.exchange.response.status
        self._ask(self._call(Phase.COMPLETE, status=status, duration_micros=1000, bytes_in=0, bytes_out=0), ends=False)

    def _pieces(self, phase: Phase, modes: Iterable[BodyMode], chunks: Sequence[bytes]) -> bytes | None:
        """Leads a body through a phase; None when a verdict ended it."""
        if phase not in self.chain.phases:
            return b"".join(chunks)
        mode = max(modes, key=lambda each: STRENGTH.index(each.mode))
        pieces = _cut(mode, chunks)
        if pieces is None:
            self._end(Deny(f"the body is longer than {mode.limit_bytes} bytes", 413), "")
            return None
        sent = []
        for number, piece in enumerate(pieces):
            call = self._call(phase, body=piece, last=number == len(pieces) - 1)
            if not self._ask(call):
                return None
            sent.append(call.values["body"])
        return b"".join(chunks) if mode.mode == "peek" else b"".join(sent)

    def _call(self, phase: Phase, **values: Any) -> MemoryCall:
        call = MemoryCall(phase, headers=self.headers, **{**self.facts, **values})
        call.notes = self.exchange.attributes  # type: ignore[assignment]
        return call

    def _ask(self, call: MemoryCall, *, ends: bool = True) -> bool:
        """Runs a crossing and carries its effects on; False when its answer ended the request."""
        answer = self.cross(call)
        self.headers = call.sections["request_header"]
        for name in (*FIELDS, "claims"):
            self.facts[name] = call.values.get(name)
        names = [loaded.name for loaded in self.chain.plugins]
        self.exchange.effects += call.effects
        self.exchange.errors += [(names[index], text) for index, text in call.errors]
        for effect in call.effects:
            self._note(call, effect.kind, effect.name, effect.value)
        if answer.kind == "continue" or not ends:
            return True
        self._end(_verdict(answer, names), names[answer.plugin])
        return False

    def _note(self, call: MemoryCall, kind: str, name: str, value: Any) -> None:
        exchange = self.exchange
        if kind == "label":
            exchange.labels[name] = value
        elif kind == "span_attribute":
            exchange.span_attributes[name] = value
        elif kind == "backend":
            exchange.backend = name
        elif kind == "rate_limit_key":
            exchange.rate_limit_key = name
        elif kind.startswith("response_header") and call.phase == Phase.REQUEST:
            self.response_changes.append((kind, name, value))

    def _end(self, verdict: Reply | Deny | Failure, plugin: str) -> None:
        exchange = self.exchange
        exchange.verdict, exchange.by = verdict, plugin
        if isinstance(verdict, Reply):
            body = verdict.body.encode() if isinstance(verdict.body, str) else verdict.body
            headers = _changed(
                [(name.lower(), value) for name, value in verdict.headers.items()], self.response_changes
            )
            exchange.response = Answered(verdict.status, Lines(headers), body)
        else:
            text = verdict.reason if isinstance(verdict, Deny) else "plugin_error"
            exchange.response = Answered(verdict.status, Lines([("content-type", "text/plain")]), text.encode())


def _verdict(answer: Answer, names: Sequence[str]) -> Reply | Deny | Failure:
    if answer.kind == "reply":
        return Reply(answer.status, dict(answer.headers), answer.body)
    if answer.kind == "deny":
        return Deny(answer.text, answer.status)
    return Failure(names[answer.plugin], answer.text, answer.traceback)


def _cut(mode: BodyMode, chunks: Sequence[bytes]) -> list[bytes] | None:
    """The pieces in which a body crosses; None when it is longer than may be buffered."""
    whole = b"".join(chunks)
    if mode.mode == "peek":
        return [whole[: mode.limit_bytes]]
    if mode.mode == "buffer":
        return None if len(whole) > mode.limit_bytes else [whole]
    return list(chunks) or [b""]


def _changed(pairs: Pairs, changes: Sequence[tuple[str, str, str | None]]) -> Pairs:
    """Headers after changes that an earlier phase asked for."""
    for kind, name, value in changes:
        if not kind.endswith("_add"):
            pairs = [pair for pair in pairs if pair[0] != name]
        if value is not None:
            pairs = [*pairs, (name, value)]
    return pairs
