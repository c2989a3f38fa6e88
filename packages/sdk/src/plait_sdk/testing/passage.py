"""Owns the way of one request through the phases of a chain, with a backend at its end, as the proxy would lead it.

Called by the harness. It holds no hooks and judges nothing: it asks, reads effects and carries them on.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plait_sdk.calls import Phase
from plait_sdk.host.memory import Answer, Effect
from plait_sdk.manager import Chain
from plait_sdk.markers import BodyMode
from plait_sdk.testing.crossing import Crossed, Question
from plait_sdk.testing.effects import LINE, Pairs, changed, last, noted
from plait_sdk.testing.exchange import Answered, Exchange, Failure, Lines
from plait_sdk.verdict import Continue, Deny, Reply

Backend = Callable[[Exchange], Reply]
Facts = dict[str, Any]
STRENGTH = ("none", "peek", "stream", "buffer")
"""Modes of bodies, weakest first: the strongest of a chain holds for all of it."""


def answer_ok(exchange: Exchange) -> Reply:
    """The backend of those who need none: 200 without a body."""
    return Reply(200)


class Passage:
    """One request under way. `cross` runs one crossing, `facts` are the fields that questions are asked with."""

    def __init__(
        self, chain: Chain, cross: Callable[[Question], Crossed], facts: Facts, headers: Pairs, backend: Backend
    ) -> None:
        self.chain = chain
        self.cross = cross
        self.facts = facts
        self.headers = headers
        self.backend = backend
        self.exchange = Exchange(Continue())
        self.kept: list[Effect] = []

    def run(self, chunks: Sequence[bytes]) -> Exchange:
        """Leads the request to the backend and the response back, or to the verdict that ends it."""
        if self._head() and self._body(chunks):
            self._response(self.backend(self.exchange))
        self._complete()
        return self.exchange

    def _head(self) -> bool:
        crossed = self._ask(Phase.REQUEST)
        self.kept = crossed.effects
        self.headers = changed(self.headers, "request_header", crossed.effects)
        for name in LINE:
            self.facts[name] = last(name, crossed.effects) or self.facts.get(name)
        exchange = self.exchange
        exchange.method, exchange.path, exchange.query, exchange.authority = (self.facts[name] or "" for name in LINE)
        exchange.sent = Lines(self.headers)
        exchange.claims = json.loads(last("claims", crossed.effects) or "{}")
        exchange.backend, exchange.rate_limit_key = last("backend", crossed.effects), last("key", crossed.effects)
        return self._goes_on(crossed)

    def _body(self, chunks: Sequence[bytes]) -> bool:
        sent = self._pieces(Phase.REQUEST_BODY, [loaded.scope.reads.body for loaded in self.chain.plugins], chunks)
        self.exchange.sent_body = sent or b""
        return sent is not None

    def _response(self, reply: Reply) -> None:
        pairs = changed([(name.lower(), value) for name, value in reply.headers.items()], "response_header", self.kept)
        self.facts["status"] = reply.status
        crossed = self._ask(Phase.RESPONSE, response_headers=pairs)
        if not self._goes_on(crossed):
            return
        status = int(last("status", crossed.effects) or reply.status)
        self.facts["status"] = status
        pairs = changed(pairs, "response_header", crossed.effects)
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        self.exchange.response = Answered(status, Lines(pairs), b"")
        modes = [loaded.scope.reads.response_body for loaded in self.chain.plugins]
        self.exchange.response.body = self._pieces(Phase.RESPONSE_BODY, modes, [body]) or self.exchange.response.body

    def _complete(self) -> None:
        self.facts |= {"status": self.exchange.status, "duration_micros": 1000, "bytes_in": 0, "bytes_out": 0}
        self._ask(Phase.COMPLETE)

    def _pieces(self, phase: Phase, modes: Iterable[BodyMode], chunks: Sequence[bytes]) -> bytes | None:
        """Leads a body through a phase; None when a verdict ended it."""
        if phase not in self.chain.phases:
            return b"".join(chunks)
        mode = max(modes, key=lambda each: STRENGTH.index(each.mode))
        pieces = cut(mode, chunks)
        if pieces is None:
            self._end(Deny(f"the body is longer than {mode.limit_bytes} bytes", 413), "")
            return None
        sent = []
        for number, piece in enumerate(pieces):
            crossed = self._ask(phase, {"body": piece}, last=number == len(pieces) - 1)
            if not self._goes_on(crossed):
                return None
            sent.append(piece if crossed.body is None else crossed.body)
        return b"".join(chunks) if mode.mode == "peek" else b"".join(sent)

    def _ask(self, phase: Phase, fields: Facts | None = None, **more: Any) -> Crossed:
        """Makes a crossing and notes what holds in every phase."""
        question = Question(
            phase, {**self.facts, **(fields or {})}, self.headers, attributes=self.exchange.attributes, **more
        )
        crossed = self.cross(question)
        exchange, plugins = self.exchange, self.chain.plugins
        exchange.effects += crossed.effects
        exchange.errors += [(plugins[index].name, text) for index, text in crossed.errors]
        exchange.attributes |= noted("attribute", crossed.effects)
        exchange.labels |= noted("label", crossed.effects)
        exchange.span_attributes |= noted("span_attribute", crossed.effects)
        return crossed

    def _goes_on(self, crossed: Crossed) -> bool:
        """False when the answer ended the request."""
        answer = crossed.answer
        if answer.kind == "continue":
            return True
        plugin = self.chain.plugins[answer.plugin].name
        self._end(_verdict(answer, plugin), plugin)
        return False

    def _end(self, verdict: Reply | Deny | Failure, plugin: str) -> None:
        exchange = self.exchange
        exchange.verdict, exchange.by = verdict, plugin
        if isinstance(verdict, Reply):
            pairs = changed(list(verdict.headers.items()), "response_header", self.kept)
            body = verdict.body.encode() if isinstance(verdict.body, str) else verdict.body
            exchange.response = Answered(verdict.status, Lines(pairs), body)
        else:
            text = verdict.reason
            exchange.response = Answered(verdict.status, Lines([("content-type", "text/plain")]), text.encode())


def cut(mode: BodyMode, chunks: Sequence[bytes]) -> list[bytes] | None:
    """The pieces in which a body crosses; None when it is longer than may be buffered."""
    whole = b"".join(chunks)
    if mode.mode == "peek":
        return [whole[: mode.limit_bytes]]
    if mode.mode == "buffer":
        return None if len(whole) > mode.limit_bytes else [whole]
    return list(chunks) or [b""]


def _verdict(answer: Answer, plugin: str) -> Reply | Deny | Failure:
    if answer.kind == "reply":
        return Reply(answer.status, dict(answer.headers), answer.body)
    if answer.kind == "deny":
        return Deny(answer.text, answer.status)
    return Failure(plugin, answer.text, answer.traceback)
