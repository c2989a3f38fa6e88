"""Owns what a claim is and what it answers. Shared by all claims."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from plait_cli.demo.stage import Call, Stage


@dataclass(frozen=True)
class Length:
    """How long claims measure, in seconds."""

    split: float
    changes: float
    fault: float


@dataclass(frozen=True)
class Result:
    """Whether a claim is so (None = could not be checked here, and why) and what was measured."""

    holds: bool | None
    measured: str


@dataclass(frozen=True)
class Claim:
    """One line of the demo. `edits` = it changes files of the demo's folder, and puts them back."""

    title: str
    check: Callable[[Stage, Length], Awaitable[Result]]
    edits: bool = False


def losses(calls: Sequence[Call]) -> str:
    """ "0 of 812 requests lost", with the commonest cause when some were."""
    lost = [call for call in calls if call.lost]
    text = f"{len(lost)} of {len(calls):,} requests lost"
    if lost:
        cause, times = Counter(f"{call.kind} {call.status} {call.error.strip()}" for call in lost).most_common(1)[0]
        text += f" ({times} x {cause[:160]!r})"
    return text


def none_lost(calls: Sequence[Call]) -> bool:
    """Whether there was traffic and all of it was answered."""
    return bool(calls) and not any(call.lost for call in calls)
