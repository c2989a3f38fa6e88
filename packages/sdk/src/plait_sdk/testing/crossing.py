"""Owns how one question of a test reaches the dispatch and how its answer comes back.

Used by the harness. `FrameCrossing` goes through the frames and the ring of production, both ends in this process;
`MemoryCrossing` through plain objects, for an SDK without its native half and for tests of the two against each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plait_sdk import _native
from plait_sdk.calls import Channel, Interest, Phase
from plait_sdk.host.memory import Answer, Effect, MemoryCall, MemoryChannel, MemoryInterest

Pairs = Sequence[tuple[str, str]]

ANSWERS = frozenset({"body", "failure", "plugin", "reply_header", "text", "traceback"})
"""Effects of a frame that belong to its answer."""


@dataclass(slots=True)
class Question:
    """One crossing to be made; `fields` by the names of a call, None for what does not cross."""

    phase: Phase
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Pairs = ()
    response_headers: Pairs = ()
    trailers: Pairs = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0
    last: bool = True


@dataclass(slots=True)
class Crossed:
    """What came back: the answer, the effects that stand, failures that were let pass, the body where one was set."""

    answer: Answer
    effects: list[Effect]
    errors: list[tuple[int, str]]
    body: bytes | None = None


class Crossing(Protocol):
    """A way to the dispatch and back."""

    channel: Channel
    interest: Interest

    def ask(self, question: Question) -> int:
        """Lets the channel give a call; its number is that of the answer."""
        ...

    def results(self) -> dict[int, Crossed]:
        """What was answered since, by number."""
        ...


class MemoryCrossing:
    """Through plain objects."""

    def __init__(self) -> None:
        self.channel: Channel = MemoryChannel()
        self.interest: Interest = MemoryInterest
        self._calls: dict[int, MemoryCall] = {}
        self._count = 0

    def ask(self, question: Question) -> int:
        self._count += 1
        call = MemoryCall(
            question.phase,
            headers=question.headers,
            response_headers=question.response_headers,
            trailers=question.trailers,
            attributes=dict(question.attributes),
            id=self._count,
            skip=question.skip,
            last=question.last,
            **{name: value for name, value in question.fields.items() if value is not None},
        )
        self._calls[self._count] = call
        assert isinstance(self.channel, MemoryChannel)
        self.channel.put(call)
        return self._count

    def results(self) -> dict[int, Crossed]:
        assert isinstance(self.channel, MemoryChannel)
        answers, self.channel.answers = self.channel.answers, {}
        return {number: self._crossed(self._calls.pop(number), answer) for number, answer in answers.items()}

    def _crossed(self, call: MemoryCall, answer: Answer) -> Crossed:
        changed = any(effect.kind == "body" for effect in call.effects)
        effects = [effect for effect in call.effects if effect.kind not in ANSWERS]
        return Crossed(answer, effects, call.errors, call.body if changed else None)


class FrameCrossing:
    """Through the frames and the ring of production."""

    def __init__(self) -> None:
        self._loopback = _native.Loopback()
        self.channel: Channel = self._loopback.channel()
        self.interest: Interest = _native.Interest

    def ask(self, question: Question) -> int:
        return self._loopback.call(
            question.phase,
            0,
            {name: value for name, value in question.fields.items() if value is not None},
            request_headers=list(question.headers),
            response_headers=list(question.response_headers),
            trailers=list(question.trailers),
            attributes=list(question.attributes.items()),
            skip=question.skip,
            last=question.last,
        )

    def results(self) -> dict[int, Crossed]:
        return {verdict.id: _crossed(verdict) for verdict in self._loopback.verdicts()}


def _crossed(verdict: _native.Verdict) -> Crossed:
    told = {kind: first for _, kind, first, _ in verdict.effects if kind in ("text", "traceback")}
    reply = [(first, value) for _, kind, first, value in verdict.effects if kind == "reply_header"]
    answers = verdict.outcome in ("reply", "deny")
    answer = Answer(
        "fail" if verdict.outcome == "error" else verdict.outcome,
        verdict.plugin or 0,
        verdict.status,
        reply,
        (verdict.body or b"") if verdict.outcome == "reply" else b"",
        told.get("text", ""),
        told.get("traceback", ""),
    )
    effects = [Effect(*effect) for effect in verdict.effects if effect[1] not in ANSWERS]
    errors = [(plugin, first) for plugin, kind, first, _ in verdict.effects if kind == "failure"]
    return Crossed(answer, effects, errors, None if answers else verdict.body)
