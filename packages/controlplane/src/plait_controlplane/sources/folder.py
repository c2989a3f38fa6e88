"""The source that is a directory of YAML. What it remembers (generations, ports, addresses) is in the state folder.

Implements `source.Source` for `app`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from plait_controlplane.resources.world import World
from plait_controlplane.sources.addresses import Addresses
from plait_controlplane.sources.history import Generation, History
from plait_controlplane.sources.lastgood import Settled
from plait_controlplane.sources.ports import Ports
from plait_controlplane.sources.source import Reading
from plait_controlplane.sources.watch import changes, read_whole
from plait_controlplane.translate.workload import Listeners


class FolderSource:
    """One directory."""

    def __init__(self, directory: Path, state: Path) -> None:
        self._directory = directory
        self._history = History(state)
        self._ports = Ports(state / "ports.json")
        self._addresses = Addresses(state / "addresses.json")

    async def start(self) -> None:
        """Nothing runs in the background."""

    async def stop(self) -> None:
        """Nothing runs in the background."""

    async def read(self) -> Reading:
        """When nobody writes to it; raises Unreadable."""
        return await read_whole(self._directory)

    def changes(self) -> AsyncGenerator[None]:
        """When the watch stands, and after each change."""
        return changes(self._directory)

    def last(self) -> Generation:
        """As the state folder has it."""
        return self._history.last()

    def number(self, before: int) -> int:
        """A counter."""
        return before + 1

    def covers(self, generation: int) -> bool:
        """There are no replicas: a higher number than ours is another mesh's."""
        return False

    async def keep(self, generation: Generation, settled: Settled) -> None:
        """On disk."""
        await asyncio.to_thread(self._history.keep, generation, settled)

    def listeners(self, world: World) -> dict[str, Listeners]:
        """As written, or free ports that stay the same."""
        return self._ports.listeners(world, self._addresses.told)

    async def reached(self, workloads: Sequence[str], address: str) -> bool:
        """Kept on disk too."""
        return await asyncio.to_thread(self._addresses.tell, workloads, address)
