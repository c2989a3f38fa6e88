"""Owns the method: who is loaded when, and what of it counts. Called by groups.py.

Contenders take turns, forth and back, so that what else the machine does meets all of them alike.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError

import load
import measure
from contenders import Contender
from load import Load

WARM_SECONDS = 1
READY_SECONDS = 20
PAUSE_SECONDS = 0.1
DIRECT = "direct"
PERCENTILES = {"p50": "p50", "p99": "p99", "p99.9": "p999"}


@dataclass(frozen=True)
class Plan:
    """How long and how often; as the user asked. `traces`: where strace writes, when system calls are counted."""

    rounds: int
    seconds: int
    connections: list[int]
    idle: int
    traces: Path | None


@dataclass
class Row:
    """One figure a round. `void`: why they do not count."""

    figures: list[float] = field(default_factory=list)
    void: str = ""


@dataclass(frozen=True)
class Case:
    """A column of the table. `traced`: where system calls are counted. `fits`: whether a contender does such work."""

    column: str
    load: Callable[[Contender, int], Load]
    traced: bool = False
    fits: Callable[[Contender], bool] = lambda contender: True


Rows = dict[str, dict[str, Row]]
"""By contender, then by column."""
Calls = dict[str, dict[str, float]]
"""System calls a request: by contender, then by name."""


def cpu(contenders: list[Contender], cases: list[Case], pids: dict[str, list[int]], plan: Plan) -> tuple[Rows, Calls]:
    """CPU time of each contender's processes for a request, in µs."""
    rows: Rows = {contender.name: {} for contender in contenders}
    calls: Calls = {}
    for case in cases:
        fitting = [contender for contender in contenders if case.fits(contender)]
        for contender in fitting:
            rows[contender.name][case.column] = Row(void=warm(case, contender))
        able = [contender for contender in fitting if not rows[contender.name][case.column].void]
        for contender in turns(able, plan.rounds):
            row = rows[contender.name][case.column]
            # What they started belongs to them: workers of plugins.
            all_of_it = measure.families(pids[contender.name])
            before = measure.cpu_nanoseconds(all_of_it)
            done = tried(case, contender, plan.seconds)
            spent = measure.cpu_nanoseconds(all_of_it) - before
            row.void = row.void or done.void
            row.figures.append(spent / 1000 / max(1, done.requests))
        if plan.traces and case.traced:
            for contender in able:
                calls[contender.name] = traced(case, contender, pids, plan.traces)
    return rows, calls


def turns(contenders: list[Contender], rounds: int) -> Iterator[Contender]:
    for turn in range(rounds):
        yield from contenders if turn % 2 == 0 else contenders[::-1]


def warm(case: Case, contender: Contender) -> str:
    """Loads until all answers are whole, which is not counted; gives the reason when that never happens."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        done = tried(case, contender, WARM_SECONDS)
        if not done.void or time.monotonic() > deadline:
            return done.void
        time.sleep(PAUSE_SECONDS)


def tried(case: Case, contender: Contender, seconds: int) -> Load:
    """A generator that gives up spoils one row, never the run."""
    try:
        done = case.load(contender, seconds)
    except (OSError, SubprocessError) as error:
        return Load(0, str(error))
    return done if done.requests or done.void else Load(0, "nothing was answered")


def traced(case: Case, contender: Contender, pids: dict[str, list[int]], folder: Path) -> dict[str, float]:
    return measure.system_calls(pids[contender.name], folder, lambda: tried(case, contender, WARM_SECONDS).requests)


def latency(contenders: list[Contender], rate: float, plan: Plan) -> Rows:
    """Percentiles in µs that each contender adds to those without a proxy in the same round."""
    rows: Rows = {contender.name: {column: Row() for column in PERCENTILES} for contender in contenders}
    for contender in turns(contenders, plan.rounds):
        times = load.times(contender.port, rate, plan.seconds)
        for column, key in PERCENTILES.items():
            row = rows[contender.name][column]
            row.figures.append(times[key] or 0.0)
            row.void = row.void or (f"{times['failed']} failed: {times['why']}" if times["failed"] else "")
    for name, columns in rows.items():
        if name != DIRECT:
            for column, row in columns.items():
                base = rows[DIRECT][column].figures
                row.figures = [figure - direct for figure, direct in zip(row.figures, base, strict=True)]
    return rows
