"""Owns how one call runs through its chain: hooks in order, wrappers around them, failures by policy, one answer.

Called by the worker's loops and by the harness. `serve` is a generator that yields only where a hook has to be
awaited, so that one text serves the loop without asyncio and the loop with it.
"""

import asyncio
import importlib
import sys
import traceback as tracebacks
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import plait_sdk
from plait_sdk.calls import Call, Channel, Phase
from plait_sdk.errors import HookTimeout
from plait_sdk.hookspecs import Combine
from plait_sdk.host.answers import apply, judge
from plait_sdk.host.arguments import Maker, log_record, makers
from plait_sdk.manager import Chain, Stage, Step

SDK = str(Path(plait_sdk.__file__).parent)
"""Frames of these files are ours: a traceback for the author leaves them out at its ends."""


TRACING = "opentelemetry.trace"
"""A plugin that imported it wants the trace of its calls; the others do not pay for it."""


IMPORTS = str(Path(importlib.__file__).parent)
"""Python's own way from our import to the author's module, which tells the author nothing."""


class Pending(NamedTuple):
    """What `serve` yields: a coroutine to be awaited, and whose it is."""

    call: Call
    plugin: int
    awaitable: Awaitable[Any]


Serving = Generator[Pending, Any, None]


class Failed(Exception):
    """A plugin whose policy is Closed failed: the call is over."""

    def __init__(self, index: int, text: str, traceback: str) -> None:
        self.index = index
        self.text = text
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Ready:
    """A step with all that running it needs."""

    step: Step
    index: int
    bit: int
    function: Callable[..., Any]
    makers: tuple[Maker, ...]
    is_async: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A stage with its steps made ready. `picks`: it is asked only where there is something to pick from."""

    hook: str
    picks: bool
    combine: Combine
    steps: tuple[Ready, ...]
    wrappers: tuple[Ready, ...]


class Dispatcher:
    """The chains of a group by id, and the channel that their calls came by.

    `entered` is told who is at work and `failed` which hooks raised, both for logs.
    """

    def __init__(
        self,
        chains: dict[int, Chain],
        channel: Channel,
        entered: Callable[[Step | None], None] | None = None,
        failed: Callable[[Step, BaseException], None] | None = None,
    ) -> None:
        self.channel = channel
        self.failed = failed
        self.entered = entered
        self.lines = {
            (number, phase): tuple(_line(stage) for stage in stages)
            for number, chain in chains.items()
            for phase, stages in chain.phases.items()
        }
        self.traced = TRACING in sys.modules
        self.is_async = any(chain.is_async for chain in chains.values())

    def serve(self, call: Call) -> Serving:
        """Runs one call and answers it once, whatever the hooks do."""
        if self.traced and call.traceparent:
            follow_trace(call.traceparent, call.tracestate)
        try:
            for line in self.lines.get((call.chain, call.phase), ()):
                if line.picks and not call.candidates:
                    continue
                if (yield from self._stage(call, line)):
                    return
        except Failed as failed:
            self.channel.fail(call, failed.index, failed.text, failed.traceback)
        else:
            self.channel.proceed(call)

    def serve_log(self, calls: Sequence[Call]) -> Serving:
        """Runs a batch of calls of the phase `log`, which are of one chain, as one."""
        first = calls[0]
        for line in self.lines.get((first.chain, Phase.LOG), ()):
            for ready in line.steps:
                records = [log_record(call, ready.step.loaded.scope) for call in calls if not call.skip & ready.bit]
                try:
                    yield from self._step(first, line, ready, (records,))
                except Failed:
                    first.note_error(f"{ready.step.loaded.name} failed in on_log")
        for call in calls:
            self.channel.proceed(call)

    def _stage(self, call: Call, line: Line) -> Generator[Pending, Any, bool]:
        """One hook of all plugins; True when it ended the call."""
        if line.wrappers:
            answer, index = yield from self._wrapped(call, line)
        else:
            answer, index = yield from self._steps(call, line)
        if line.combine is Combine.MERGE or answer is None:
            return False
        return apply(line.hook, answer, call, self.channel, index)

    def _steps(self, call: Call, line: Line) -> Generator[Pending, Any, tuple[Any, int]]:
        """The answer of the chain and whose it is."""
        for ready in line.steps:
            if call.skip & ready.bit:
                continue
            scope = ready.step.loaded.scope
            answer = yield from self._step(call, line, ready, [make(call, scope) for make in ready.makers])
            if answer is None:
                continue
            if line.combine is not Combine.MERGE:
                return answer, ready.index
            apply(line.hook, answer, call, self.channel, ready.index)
        return None, 0

    def _step(self, call: Call, line: Line, ready: Ready, arguments: Sequence[Any]) -> Generator[Pending, Any, Any]:
        """One hook of one plugin: its answer, or None when it failed and its policy is Open."""
        self.channel.begin(call, ready.index)
        if self.entered is not None:
            self.entered(ready.step)
        try:
            answer = ready.function(*arguments)
            if ready.is_async:
                answer = yield Pending(call, ready.index, answer)
            return judge(line.hook, line.combine, answer, call, ready.step.loaded.scope)
        except (HookTimeout, asyncio.CancelledError) as error:
            raise Failed(ready.index, "deadline", author_traceback(error)) from None
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: a hook ends no worker
            return self._failed(call, ready, error)
        finally:
            if self.entered is not None:
                self.entered(None)

    def _failed(self, call: Call, ready: Ready, error: BaseException) -> None:
        text = told(error)
        if self.failed is not None:
            self.failed(ready.step, error)
        if ready.step.loaded.on_error == "closed":
            raise Failed(ready.index, text, author_traceback(error)) from None
        call.rollback()
        call.note_error(text)

    def _wrapped(self, call: Call, line: Line) -> Generator[Pending, Any, tuple[Any, int]]:
        """The chain inside its wrappers: each sees the answer of what it wraps, and may give another."""
        opened: list[tuple[Ready, Generator[Any, Any, Any]]] = []
        try:
            for ready in line.wrappers:
                if not call.skip & ready.bit and (generator := self._open(call, ready)) is not None:
                    opened.append((ready, generator))
            answer, index = yield from self._steps(call, line)
            while opened:
                ready, generator = opened.pop()
                given = self._close(call, line, ready, generator, answer)
                if given is not answer:
                    answer, index = given, ready.index
                    if line.combine is Combine.MERGE and given is not None:
                        apply(line.hook, given, call, self.channel, index)
            return answer, index
        finally:
            for _, generator in opened:
                generator.close()

    def _open(self, call: Call, ready: Ready) -> Generator[Any, Any, Any] | None:
        self.channel.begin(call, ready.index)
        scope = ready.step.loaded.scope
        try:
            generator: Generator[Any, Any, Any] = ready.function(*[make(call, scope) for make in ready.makers])
            next(generator)
        except StopIteration:
            self._failed(call, ready, RuntimeError(f"the wrapper of {ready.step.hook} did not yield"))
        except Exception as error:
            self._failed(call, ready, error)
        else:
            return generator
        return None

    def _close(self, call: Call, line: Line, ready: Ready, generator: Generator[Any, Any, Any], answer: Any) -> Any:
        self.channel.begin(call, ready.index)
        try:
            generator.send(answer)
        except StopIteration as stop:
            try:
                if stop.value is answer:
                    return answer
                return judge(line.hook, line.combine, stop.value, call, ready.step.loaded.scope)
            except Exception as error:
                self._failed(call, ready, error)
        except Exception as error:
            self._failed(call, ready, error)
        else:
            self._failed(call, ready, RuntimeError(f"the wrapper of {ready.step.hook} yielded twice"))
        return answer


def follow_trace(traceparent: str, tracestate: str | None) -> None:
    """Makes the trace of a call that of the current context, so that spans of a plugin's become its children."""
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})}
    context.attach(TraceContextTextMapPropagator().extract(carrier))


def told(error: BaseException) -> str:
    """An error in one line, as it goes to the log: "IndexError: list index out of range"."""
    text = str(error).split("\n", 1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def author_traceback(error: BaseException) -> str:
    """The traceback of an error from the first line of the author's code on; all of it when it is nobody's but ours."""
    start = error.__traceback__
    while start is not None and _is_ours(start):
        start = start.tb_next
    summary = tracebacks.TracebackException(type(error), error, start or error.__traceback__)
    while len(summary.stack) > 1 and summary.stack[-1].filename.startswith(SDK):
        summary.stack.pop()
    return "".join(summary.format())


def _is_ours(frame: TracebackType) -> bool:
    name = frame.tb_frame.f_code.co_filename
    return name.startswith((SDK, IMPORTS, "<frozen importlib"))


def _line(stage: Stage) -> Line:
    picks = stage.hook == "choose_backend"
    return Line(stage.hook, picks, stage.combine, tuple(map(_ready, stage.steps)), tuple(map(_ready, stage.wrappers)))


def _ready(step: Step) -> Ready:
    if step.hook == "on_log":
        return Ready(step, step.index, 1 << step.index, step.function, (), step.is_async)
    return Ready(step, step.index, 1 << step.index, step.function, makers(step.hook, step.takes), step.is_async)
