"""The seam between the control plane and what it reads: a directory or a cluster. Both give the same worlds.

Called by `app` alone; implemented by `folder` and `kubernetes`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plait_controlplane.resources.document import Document
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import Key
from plait_controlplane.resources.world import World
from plait_controlplane.sources.history import Generation
from plait_controlplane.sources.lastgood import Settled
from plait_controlplane.translate.workload import Listeners


@dataclass(frozen=True)
class Reading:
    """What was there at one moment. `broken` are the documents with problems, by file.

    `unsettled`: it may be half of a change, and nothing tells of the other half: it must be read again.
    """

    world: World
    problems: list[Problem]
    broken: list[tuple[str, Document]]
    unsettled: bool = False
    seen: Mapping[Key, dict[str, Any]] = field(default_factory=dict)
    """The user's objects as the API server has them; empty for a directory."""


class Unreadable(Exception):
    """Nothing can be read now: what is in force stays."""


class Source(Protocol):
    """Where the world comes from."""

    async def start(self) -> None:
        """Before everything else."""
        ...

    async def stop(self) -> None:
        """After everything else."""
        ...

    async def read(self) -> Reading:
        """All of it. Waits until it is whole for the first time; later raises Unreadable rather than wait."""
        ...

    def changes(self) -> AsyncGenerator[None]:
        """Yields once at first, and then after each change that is to be read."""
        ...

    def last(self) -> Generation:
        """What was in force when the control plane ended; an empty one where nothing remembers."""
        ...

    def number(self, before: int) -> int:
        """The number of a new generation after `before`."""
        ...

    def covers(self, generation: int) -> bool:
        """Whether all that another replica may have called `generation` was seen here, under a lower number."""
        ...

    async def keep(self, generation: Generation, settled: Settled) -> None:
        """Remembers a generation, before any proxy hears of it."""
        ...

    def listeners(self, world: World) -> dict[str, Listeners]:
        """Where the proxy of each workload listens."""
        ...

    async def reached(self, workloads: Sequence[str], address: str) -> bool:
        """A proxy says at which address its workloads are reached; True when that is news."""
        ...
