"""Runs the control plane of a cluster with many simulated proxies, changes things, and prints what that took.

Called by `nox -s scale`, and small by its test. The API server is this process, the control plane and the proxies are
others. Figures of time and processor are of this machine; only what they are beside the goals is worth telling.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import world
from control_plane import ControlPlane
from fake_apiserver import FakeApiServer, serving

HERE = Path(__file__).parent
DESTINATIONS = 10
A_PROCESS = 250
"""Simulated proxies in a process."""
DEADLINE_SECONDS = 300.0
GOALS = {
    "route_of_all_ms": (500.0, "a change to the last of all proxies, ms"),
    "memory_a_proxy_kb": (512.0, "memory of the control plane a proxy, KB"),
}


@dataclass
class Figures:
    """What a run gave."""

    services: int
    endpoints: int
    proxies: int
    ready_seconds: float = 0.0
    connected_seconds: float = 0.0
    route_of_all_ms: float = 0.0
    route_of_all_worst_ms: float = 0.0
    route_of_all_cpu_ms: float = 0.0
    route_of_all_bytes_a_proxy: float = 0.0
    route_of_few: int = 0
    route_of_few_ms: float = 0.0
    endpoints_ms: float = 0.0
    churn_changes: int = 0
    churn_seconds: float = 0.0
    churn_cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    memory_a_proxy_kb: float = 0.0


class Crowd:
    """All simulated proxies, in several processes."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []
        self.news = asyncio.Condition()
        self._processes: list[asyncio.subprocess.Process] = []
        self._reading: list[asyncio.Task[None]] = []

    async def connect(self, control_plane: ControlPlane, services: int, proxies: int) -> None:
        for first in range(0, proxies, A_PROCESS):
            words = [first, min(A_PROCESS, proxies - first), services, min(DESTINATIONS, services)]
            command = [str(HERE / "proxies.py"), control_plane.discovery, str(control_plane.folder), *map(str, words)]
            process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
            self._processes.append(process)
            self.told.append({"acked": {}, "current": {}, "at": 0.0, "bytes": 0})
            self._reading.append(asyncio.create_task(self._read(process, len(self.told) - 1)))

    async def _read(self, process: asyncio.subprocess.Process, index: int) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            async with self.news:
                self.told[index] = json.loads(line)
                self.news.notify_all()

    def count(self, generation: int, what: Sequence[str] = ("acked", "current")) -> int:
        """How many answers were given to this generation or a later one."""
        counts = [told[each] for told in self.told for each in what]
        return sum(count for each in counts for number, count in each.items() if int(number) >= generation)  # type: ignore[attr-defined]

    def bytes(self) -> int:
        return sum(int(str(told["bytes"])) for told in self.told)

    async def until(self, generation: int, count: int, *what: str) -> float:
        """Waits until so many have; gives the time of the last (monotonic, as all processes have it)."""
        async with asyncio.timeout(DEADLINE_SECONDS), self.news:
            while self.count(generation, what or ("acked", "current")) < count:
                self._must_live()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 1)
        return max(float(str(told["at"])) for told in self.told)

    def _must_live(self) -> None:
        if any(process.returncode is not None for process in self._processes):
            raise RuntimeError("simulated proxies ended; what they said stands above")

    async def end(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await asyncio.gather(*self._reading)


async def measure(services: int, proxies: int, changes: int) -> Figures:
    """One run."""
    figures = Figures(services, services * world.PODS_A_SERVICE, proxies)
    async with serving() as fake:
        say(f"filling the API server: {services} Services, {figures.endpoints} pods")
        for item in world.objects(services):
            await fake.put(item)
        for number in (0, services // 2):
            await fake.put(world.route(number, 50))
        with tempfile.TemporaryDirectory() as folder:
            async with started(fake, Path(folder), figures) as control_plane:
                crowd = Crowd()
                try:
                    await _connected(crowd, control_plane, figures)
                    await _change(crowd, control_plane, figures, fake, changes)
                finally:
                    await crowd.end()
    return figures


@contextlib.asynccontextmanager
async def started(fake: FakeApiServer, folder: Path, figures: Figures) -> AsyncIterator[ControlPlane]:
    """The control plane, ready."""
    began = time.monotonic()
    control_plane = ControlPlane(folder, fake.url)
    await control_plane.start(DEADLINE_SECONDS)
    figures.ready_seconds = time.monotonic() - began
    say(f"the control plane is ready after {figures.ready_seconds:.1f} s")
    try:
        yield control_plane
    finally:
        await control_plane.stop()


async def _connected(crowd: Crowd, control_plane: ControlPlane, figures: Figures) -> None:
    control_plane.write_leaf(world.NAMESPACE, world.ACCOUNT)
    before, began = control_plane.memory_bytes(), time.monotonic()
    await crowd.connect(control_plane, figures.services, figures.proxies)
    await crowd.until(1, figures.proxies, "acked")
    figures.connected_seconds = time.monotonic() - began
    after = control_plane.memory_bytes()
    figures.memory_mb = after / 2**20
    figures.memory_a_proxy_kb = (after - before) / figures.proxies / 1024
    say(f"{figures.proxies} proxies hold what they asked for after {figures.connected_seconds:.1f} s")


async def _change(
    crowd: Crowd, control_plane: ControlPlane, figures: Figures, fake: FakeApiServer, changes: int
) -> None:
    """A route of all, a route of few, an endpoint of all; then many endpoints at once."""
    took, spent, sent = [], [], []
    for number in range(changes):
        cpu, size = control_plane.cpu_seconds(), crowd.bytes()
        took.append(await _one(crowd, fake, world.route(0, number % 100), figures.proxies))
        spent.append(control_plane.cpu_seconds() - cpu)
        sent.append((crowd.bytes() - size) / figures.proxies)
    figures.route_of_all_ms, figures.route_of_all_worst_ms = statistics.median(took) * 1000, max(took) * 1000
    figures.route_of_all_cpu_ms = statistics.median(spent) * 1000
    figures.route_of_all_bytes_a_proxy = statistics.median(sent)
    say(f"a route of all: {figures.route_of_all_ms:.0f} ms to the last")
    half = figures.services // 2
    took = []
    for number in range(changes):
        began = time.monotonic()
        generation = await changed(fake, world.route(half, number % 100))
        took.append(await crowd.until(generation, 1, "acked") - began)
        # All others hear the number of the generation; those who know the route have acked by then.
        await crowd.until(generation, figures.proxies)
        figures.route_of_few = crowd.count(generation, ["acked"])
    figures.route_of_few_ms = statistics.median(took) * 1000
    slices = (world.endpoint_slice(0, number % world.PODS_A_SERVICE) for number in range(changes))
    figures.endpoints_ms = statistics.median([await _one(crowd, fake, each, figures.proxies) for each in slices]) * 1000
    await _churn(crowd, control_plane, figures, fake)


async def _one(crowd: Crowd, fake: FakeApiServer, item: world.Object, acks: int) -> float:
    """Seconds from the change to the last of so many acks."""
    began = time.monotonic()
    return await crowd.until(await changed(fake, item), acks, "acked") - began


async def changed(fake: FakeApiServer, item: world.Object) -> int:
    """Puts it; gives the generation that must follow. What the control plane writes of its own makes none."""
    return int((await fake.put(item))["metadata"]["resourceVersion"])


async def _churn(crowd: Crowd, control_plane: ControlPlane, figures: Figures, fake: FakeApiServer) -> None:
    """Endpoints of many Services come and go as fast as they can be told."""
    figures.churn_changes = figures.services
    cpu, began = control_plane.cpu_seconds(), time.monotonic()
    for number in range(figures.churn_changes):
        await fake.put(world.endpoint_slice(number % figures.services, number % world.PODS_A_SERVICE))
        await asyncio.sleep(0.01)
    await crowd.until(await changed(fake, world.route(0, 7)), figures.proxies, "acked")
    figures.churn_seconds = time.monotonic() - began
    figures.churn_cpu_seconds = control_plane.cpu_seconds() - cpu


def say(text: str) -> None:
    """Progress, for people."""
    print(f"· {text}", file=sys.stderr, flush=True)


def report(figures: Figures) -> str:
    """As people read it."""
    f = figures
    lines = [
        f"{f.services} Services, {f.endpoints} endpoints, {f.proxies} proxies with {DESTINATIONS} destinations each",
        f"ready {f.ready_seconds:.1f} s, all connected {f.connected_seconds:.1f} s, {f.memory_mb:.0f} MB",
        f"a route of all: median {f.route_of_all_ms:.0f} ms, worst {f.route_of_all_worst_ms:.0f} ms to the last ack;"
        f" {f.route_of_all_cpu_ms:.0f} ms of processor, {f.route_of_all_bytes_a_proxy:.0f} bytes a proxy",
        f"a route that {f.route_of_few} proxies know: {f.route_of_few_ms:.0f} ms to the first ack",
        f"an endpoint of all: {f.endpoints_ms:.0f} ms to the last ack",
        f"{f.churn_changes} changes of endpoints in {f.churn_seconds:.1f} s: {f.churn_cpu_seconds:.1f} s of processor",
    ]
    for name, (must, meaning) in GOALS.items():
        value = getattr(figures, name)
        lines.append(f"{'✓' if value <= must else '✗'} {meaning}: {value:.0f} (must {must:.0f})")
    return "\n".join(lines)


def main() -> int:
    """The command. Exit code 0 when the run came to its end, whatever its figures are."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: at_scale.py --services 1000 --proxies 1000")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=10, help="of each kind")
    parser.add_argument("--json", type=Path, help="writes the figures there")
    told = parser.parse_args()
    if told.proxies > told.services * world.PODS_A_SERVICE or told.services < 2:
        parser.error(f"a Service has {world.PODS_A_SERVICE} pods, and each proxy is one of them; two Services at least")
    figures = asyncio.run(measure(told.services, told.proxies, told.changes))
    print(report(figures))
    if told.json:
        told.json.write_text(json.dumps(asdict(figures), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
