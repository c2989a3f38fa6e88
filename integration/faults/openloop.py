"""Owns the load of a fault: requests at a fixed rate whoever answers, and what became of each of them.

Called by the tests and by compare.py. An open loop: the next request leaves when it is due, not when one before it was
answered, so that a mesh which stalls is not spared. Must not know what the fault is, nor who answers.
"""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Protocol

PATIENCE_SECONDS = 30.0
"""A request without an answer for so long is lost."""
LATE_SECONDS = 0.1
"""The loop may be so far behind its rate and catch up."""
SIZES = [0, 1, 100, 100, 1_000, 1_000, 16_000, 70_000]
"""Of bodies. The last is more than one frame and one window of an ordinary HTTP/2 client."""


class Verdict(Enum):
    """What became of a request. All but the first are counted apart, as is what a process got twice."""

    FINE = "fine"
    LOST = "lost"
    """No answer, or an error in place of it: the caller knows."""
    TRUNCATED = "truncated"
    """A clean end too early: the caller does not know."""
    MISROUTED = "misrouted"
    """The answer to another request."""
    WRONG_IDENTITY = "answered by the wrong identity"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a Service; the process tells `number` and `body` back and looks at `digest`."""

    number: int
    service: str
    body: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `place`: the workload that says it answered; `said`: who answered in place of it, and why."""

    status: int
    number: int = -1
    place: str = ""
    body: bytes = b""
    said: str = ""


class Caller(Protocol):
    """One way to call one Service. `call` raises when there is no answer."""

    name: str
    service: str

    async def call(self, request: Request) -> Answer: ...


@dataclass(slots=True)
class Call:
    """One request: times by the monotonic clock."""

    number: int
    kind: str
    phase: str
    began: float
    ended: float = 0.0
    verdict: Verdict = Verdict.LOST
    status: int = 0
    said: str = "under way"


def digest(body: bytes) -> str:
    """What tells two bodies apart."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


@dataclass
class Load:
    """A context: begins with the first phase, and ends when every request has its answer.

    `callers`: each with its share. `seen`: how often each number reached a process.
    """

    callers: Sequence[tuple[Caller, int]]
    rate: int
    seed: int
    seen: Callable[[], Counter[int]]
    calls: list[Call] = field(default_factory=list)
    latest: float = 0.0
    """How far the loop was behind its rate at worst: a busy machine, not the mesh."""
    _phase: str = "before"
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> "Load":
        self._random = random.Random(self.seed)
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self.answered(self.under_way())

    async def answered(self, numbers: set[int]) -> None:
        """Waits until these have their answer, whatever it is."""
        await asyncio.gather(*(task for number, task in self._tasks.items() if number in numbers))

    async def phase(self, name: str, seconds: float = 0.0, requests: int = 0) -> None:
        """From now on it is this phase; returns after so long, when as many requests were sent in it too."""
        self._phase = name
        first = len(self.calls)
        await asyncio.sleep(seconds)
        while len(self.calls) < first + requests:
            assert not self._loop.done(), self._loop
            await asyncio.sleep(0.01)

    def under_way(self) -> set[int]:
        """The numbers of requests without an answer yet."""
        return set(self._tasks)

    async def turn(self, phase: str) -> None:
        """From now on it is this phase; returns when every request of those before has its answer."""
        earlier = self.under_way()
        self._phase = phase
        await self.answered(earlier)

    def bad(self, phase: str = "", verdict: Verdict | None = None) -> list[Call]:
        """What did not end well."""
        found = [call for call in self.calls if call.verdict is not Verdict.FINE and phase in ("", call.phase)]
        return [call for call in found if verdict in (None, call.verdict)]

    def duplicated(self) -> list[int]:
        """Numbers that reached a process more than once: every request is one that must not be repeated."""
        return [number for number, times in self.seen().items() if times > 1]

    def silent_faults(self) -> list[str]:
        """What no fault excuses: all that a caller cannot notice."""
        bad = [f"{call.verdict.value}: {call}" for call in self.bad() if call.verdict is not Verdict.LOST]
        return bad + [f"duplicated: {number}" for number in self.duplicated()]

    def table(self) -> str:
        """All figures, by phase; the first line tells how to ask for the same load again."""
        lines = [f"seed {self.seed}, {self.rate} requests a second, at most {self.latest * 1000:.0f} ms behind"]
        lines.append(f"duplicated {len(self.duplicated())}")
        for phase in dict.fromkeys(call.phase for call in self.calls):
            calls = [call for call in self.calls if call.phase == phase]
            counts = Counter(call.verdict for call in calls)
            counters = ", ".join(f"{verdict.value} {counts[verdict]}" for verdict in Verdict)
            lines.append(
                f"{phase}: {len(calls)} requests, {counters}, p99 {self.percentile(phase, 0.99) * 1000:.1f} ms"
            )
        for words, times in Counter(f"{call.phase} {call.kind} {call.said}" for call in self.bad()).most_common(12):
            lines.append(f"  {times} x {words[:240]}")
        return "\n".join(lines)

    def percentile(self, phase: str, share: float) -> float:
        """Seconds that so many of the requests of a phase took that were answered well."""
        fine = [call for call in self.calls if call.phase == phase and call.verdict is Verdict.FINE]
        times = sorted(call.ended - call.began for call in fine)
        return times[min(int(len(times) * share), len(times) - 1)] if times else 0.0

    async def _run(self) -> None:
        callers, shares = zip(*self.callers, strict=True)
        due = time.monotonic()
        while True:
            wait = due - time.monotonic()
            # Also when it is late: others must run.
            await asyncio.sleep(max(wait, 0))
            self.latest = max(self.latest, -wait)
            (caller,) = self._random.choices(callers, shares)
            number = len(self.calls)
            body = self._random.randbytes(self._random.choice(SIZES))
            request = Request(number, caller.service, body, digest(body))
            call = Call(number, caller.name, self._phase, time.monotonic())
            self.calls.append(call)
            self._tasks[number] = asyncio.create_task(self._one(caller, request, call))
            # A machine that is too busy for the rate gets fewer requests, not a flood of them afterwards.
            due = max(due, time.monotonic() - LATE_SECONDS) + 1 / self.rate

    async def _one(self, caller: Caller, request: Request, call: Call) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await caller.call(request)
        except Exception as error:
            call.said = f"{type(error).__name__}: {error}"
        else:
            call.status = answer.status
            call.verdict, call.said = judge(request, answer)
        call.ended = time.monotonic()
        del self._tasks[request.number]


def judge(request: Request, answer: Answer) -> tuple[Verdict, str]:
    """What an answer is to its request, and why."""
    if answer.status != 200:
        return Verdict.LOST, f"{answer.status} {answer.said}"
    if answer.place.rpartition("-")[0] != request.service:
        return Verdict.WRONG_IDENTITY, f"{answer.place} answered for {request.service}"
    if answer.number != request.number:
        return Verdict.MISROUTED, f"it is the answer to {answer.number}"
    if answer.body != request.body:
        return Verdict.TRUNCATED, f"{len(answer.body)} of {len(request.body)} bytes"
    return Verdict.FINE, answer.place
