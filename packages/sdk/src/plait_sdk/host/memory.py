"""Owns calls without frames: plain objects that behave as those of the native half, and a channel that keeps the
answers.

Made by the harness (`plait_sdk.testing`) and by the loader, which needs an interest before there is a ring. What is
refused here is what the native half refuses, so that a test in memory tells the truth.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait_sdk.calls import Call, Phase

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
"""What a name of a header may hold (RFC 9110, 5.6.2), in lower case."""

BREAK = re.compile(r"[\r\n\0]")
"""What would end a header early."""

PATH = re.compile(r"/[^\s?#]*")

FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"})
"""What frames and routes a message: the proxy's own."""

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Effect:
    """One change that a plugin made. `plugin` is its place in the chain, `kind` such as "set_request_header" or
    "path".
    """

    plugin: int
    kind: str
    name: str
    value: str = ""


class MemoryInterest:
    """Which headers a plugin may read and write; None is all."""

    __slots__ = ("reads", "writes")

    def __init__(self, reads: Iterable[str] | None, writes: Iterable[str] | None) -> None:
        self.reads = None if reads is None else frozenset(reads)
        self.writes = None if writes is None else frozenset(writes)

    def may_read(self, name: str) -> bool:
        """What a plugin may write by name it may read too; to write anything is not to read anything."""
        return self.reads is None or name in self.reads or (self.writes is not None and name in self.writes)


class MemoryFields:
    """A live view of headers that records changes as effects of its call."""

    __slots__ = ("_call", "_interest", "_pairs", "_section")

    def __init__(self, call: "MemoryCall", section: str, pairs: Pairs, interest: MemoryInterest) -> None:
        self._call = call
        self._section = section
        self._pairs = pairs
        self._interest = interest

    def all(self, name: str) -> list[str]:
        if not self._interest.may_read(name):
            raise PermissionError(f"header {name} was not declared: add it to the plugin's reads")
        return [value for each, value in self._pairs if each == name]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        self._check(name, value)
        self._call.record(
            Effect(self._call.plugin, f"set_{self._section}", name, value), lambda: self._put(name, value)
        )

    def append(self, name: str, value: str) -> None:
        self._check(name, value)
        effect = Effect(self._call.plugin, f"append_{self._section}", name, value)
        self._call.record(effect, lambda: self._pairs.append((name, value)))

    def __delitem__(self, name: str) -> None:
        self._check(name, "")
        self._call.record(Effect(self._call.plugin, f"remove_{self._section}", name), lambda: self._put(name, None))

    def items(self) -> Pairs:
        return [pair for pair in self._pairs if self._interest.may_read(pair[0])]

    def _put(self, name: str, value: str | None) -> None:
        kept = [pair for pair in self._pairs if pair[0] != name]
        self._pairs[:] = kept if value is None else [*kept, (name, value)]

    def _check(self, name: str, value: str) -> None:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header: letters, digits and -")
        if self._interest.writes is not None and name not in self._interest.writes:
            raise PermissionError(f"header {name} was not declared: add it to the plugin's writes")
        if name in FRAMING:
            raise ValueError(
                "a header that frames the message belongs to the proxy; set the authority or the body instead"
            )
        if not isinstance(value, str):
            raise TypeError(f"the value of {name} is a {type(value).__name__}: write str(…)")
        if BREAK.search(value):
            raise ValueError(f"the value of {name} holds CR, LF or NUL: {value!r}")


class _Settable:
    """A field of a call whose change is an effect of the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, call: "MemoryCall", owner: type | None = None) -> Any:
        return call.values.get(self.name)

    def __set__(self, call: "MemoryCall", value: Any) -> None:
        if self.name == "path" and not PATH.fullmatch(value):
            raise ValueError("a path must begin with / and hold neither blanks nor ? nor #")
        told = "" if self.name == "body" else str(value)
        call.record(Effect(call.plugin, self.name, told), lambda: call.values.update({self.name: value}))


class MemoryCall:
    """A call whose fields are what it was made with; None for the rest."""

    method = _Settable()
    path = _Settable()
    query = _Settable()
    authority = _Settable()
    status = _Settable()
    body = _Settable()
    claims = _Settable()

    def __init__(
        self,
        phase: Phase,
        *,
        headers: Iterable[tuple[str, str]] = (),
        response_headers: Iterable[tuple[str, str]] = (),
        trailers: Iterable[tuple[str, str]] = (),
        **values: Any,
    ) -> None:
        self.id: int = values.pop("id", 1)
        self.phase = int(phase)
        self.chain: int = values.pop("chain", 0)
        self.skip: int = values.pop("skip", 0)
        self.last: bool = values.pop("last", True)
        self.notes: dict[str, str] = values.pop("attributes", {})
        self.sections = {
            "request_header": [(name.lower(), value) for name, value in headers],
            "response_header": [(name.lower(), value) for name, value in response_headers],
            "trailer": [(name.lower(), value) for name, value in trailers],
        }
        self.values: dict[str, Any] = values
        self.effects: list[Effect] = []
        self.errors: list[tuple[int, str]] = []
        self.plugin = -1
        self._actions: list[Callable[[], object]] = []
        self._first = self._state()

    def __getattr__(self, name: str) -> Any:
        if name == "candidates":
            return self.values.get(name, [])
        if name.startswith("_") or (name not in Call.__dict__ and name not in Call.__annotations__):
            raise AttributeError(name)
        return self.values.get(name)

    def begin(self, plugin: int) -> None:
        """Effects that follow belong to `plugin`."""
        self.plugin = plugin

    def rollback(self) -> None:
        """Makes the call what it would be without the plugin at work."""
        kept = [each for each in zip(self.effects, self._actions, strict=True) if each[0].plugin != self.plugin]
        sections, values, notes = self._first
        for name, pairs in sections.items():
            self.sections[name][:] = pairs
        self.values, self.notes = dict(values), dict(notes)
        self.effects, self._actions = [], []
        for effect, action in kept:
            self.record(effect, action)

    def record(self, effect: Effect, action: Callable[[], object] = lambda: None) -> None:
        """Makes an effect and keeps it."""
        action()
        self.effects.append(effect)
        self._actions.append(action)

    def _state(self) -> tuple[dict[str, Pairs], dict[str, Any], dict[str, str]]:
        return {name: list(pairs) for name, pairs in self.sections.items()}, dict(self.values), dict(self.notes)

    def request_headers(self, interest: Any) -> MemoryFields:
        return MemoryFields(self, "request_header", self.sections["request_header"], interest)

    def response_headers(self, interest: Any) -> MemoryFields:
        return MemoryFields(self, "response_header", self.sections["response_header"], interest)

    def trailers(self, interest: Any) -> MemoryFields:
        return MemoryFields(self, "trailer", self.sections["trailer"], interest)

    def attributes(self) -> dict[str, str]:
        return dict(self.notes)

    def set_attribute(self, name: str, value: str) -> None:
        self.record(Effect(self.plugin, "attribute", name, value), lambda: self.notes.update({name: value}))

    def set_label(self, name: str, value: str) -> None:
        self.record(Effect(self.plugin, "label", name, value))

    def set_span_attribute(self, name: str, value: str) -> None:
        self.record(Effect(self.plugin, "span_attribute", name, value))

    def choose(self, backend: str) -> None:
        self.record(Effect(self.plugin, "backend", backend))

    def rank(self, endpoints: Sequence[str]) -> None:
        for endpoint in endpoints:
            self.record(Effect(self.plugin, "endpoint", endpoint))

    def set_key(self, key: str) -> None:
        self.record(Effect(self.plugin, "key", key))

    def set_retry(self, retry: bool) -> None:
        self.record(Effect(self.plugin, "retry", "true" if retry else "false"))

    def note_error(self, text: str) -> None:
        self.errors.append((self.plugin, text))


@dataclass(slots=True)
class Answer:
    """What a call came to: "continue", "reply", "deny" or "fail"."""

    kind: str
    plugin: int = 0
    status: int = 0
    headers: Pairs = field(default_factory=list)
    body: bytes = b""
    text: str = ""
    traceback: str = ""


class MemoryChannel:
    """A channel whose calls are given by `put` and whose answers are kept by the id of the call."""

    def __init__(self) -> None:
        self.waiting: list[MemoryCall] = []
        self.answers: dict[int, Answer] = {}
        self.marked: MemoryCall | None = None

    def put(self, call: MemoryCall) -> None:
        """Lets `take` give a call."""
        self.waiting.append(call)

    def fileno(self) -> int:
        return -1

    def take(self, most: int = 64) -> list[MemoryCall]:
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken

    def arm(self) -> bool:
        return not self.waiting

    def wait(self, timeout: float | None = None, control: int = -1) -> bool:
        return bool(self.waiting)

    def begin(self, call: MemoryCall, plugin: int) -> None:
        self.marked = call
        call.begin(plugin)

    def end(self) -> None:
        self.marked = None

    def interrupted(self) -> bool:
        return self.marked is not None

    def proceed(self, call: MemoryCall) -> None:
        self._answer(call, Answer("continue"))

    def reply(
        self, call: MemoryCall, plugin: int, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self._answer(call, Answer("reply", plugin, status, list(headers), body))

    def deny(self, call: MemoryCall, plugin: int, reason: str, status: int = 403) -> None:
        self._answer(call, Answer("deny", plugin, status, text=reason))

    def fail(self, call: MemoryCall, plugin: int, text: str, traceback: str = "") -> None:
        self._answer(call, Answer("fail", plugin, text=text, traceback=traceback))

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers.values())

    def _answer(self, call: MemoryCall, answer: Answer) -> None:
        if call.id in self.answers:
            raise AssertionError(f"call {call.id} was answered twice")
        self.answers[call.id] = answer
        self.marked = None
