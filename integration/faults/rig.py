"""Owns the mesh that faults are tried on: the caller's sidecar, a control plane that obeys, gates, the called sidecar,
and the processes behind it. Called by the tests and by compare.py.

callers -> sidecar "caller" (joined) -> a gate for each place -> sidecar "called" (from a file) -> origins

alpha speaks HTTP and beta gRPC; each place of theirs is a workload with an identity of its Service. Both sidecars are
real processes with mutual TLS between them. Must not know which fault is tried.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import certificates
import control
import ours
import residue
import told
from callers import callers
from gates import Gate
from mesh import binary
from openloop import Caller, Load
from origins import Origins
from plait_sdk.contracts import resource_pb2, service_pb2
from told import Far, Place

PORTS = range(30_000, 32_700)
"""Nobody else here chooses among these, nor does the kernel."""
PATIENCE_SECONDS = 20.0


@dataclass
class Rig:
    """Use: `async with running(folder) as rig`."""

    folder: Path
    counts: dict[str, int]
    far: Far | None = None
    places: dict[str, Place] = field(default_factory=dict)
    binds: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    callers: Sequence[tuple[Caller, int]] = ()
    _taken: set[int] = field(default_factory=set)

    async def start(self, backend: service_pb2.BackendTraffic, calls: service_pb2.CallTraffic) -> None:
        self.root = certificates.make(self.folder, ["caller", *told.SERVICES, control.ACCOUNT])
        await self.place()
        self.control = control.ControlPlane(self.folder, self.port())
        await self.control.start()
        self.control.put(told.caller(self.root, self.binds, self.port()))
        self.control.put([*told.services(backend, calls), *self.endpoints(self.places)])
        self.run_called("called")
        if self.far:
            self.run_called("far")
        self.run_caller()
        await self.serves()

    async def place(self) -> None:
        """Opens the gates, and starts what is behind the sidecars."""
        self.binds = {service: self.port() for service in told.SERVICES}
        for service, count in self.counts.items():
            for number in range(count):
                name, sidecar = f"{service}-{number}", self.port()
                far = self.far if self.far and name in self.far.places else None
                self.places[name] = Place(name, service, self.port(), sidecar, Gate(self.port(), sidecar), far)
                await self.places[name].gate.open()
        host = "0.0.0.0" if self.far else "127.0.0.1"
        self.origins = Origins({place.name: place.process for place in self.places.values()}, host)
        await self.origins.start()

    async def stop(self) -> None:
        """Ends all that `start` began."""
        await self.leave()
        await self.control.stop()

    async def leave(self) -> None:
        """Ends sidecars, origins and gates."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        await self.origins.stop()
        for place in self.places.values():
            place.gate.kill()

    def port(self) -> int:
        """A port of loopback on which nobody listens."""
        while True:
            port = random.choice(PORTS)
            with socket.socket() as probe:
                if port not in self._taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                    self._taken.add(port)
                    return port

    def run_called(self, name: str) -> None:
        """Starts the sidecar of places: "called", and "far" for those that are far."""
        upserts = told.called(
            self.root, [place for place in self.places.values() if bool(place.far) == (name == "far")]
        )
        changes = told.at_once(upserts)
        prefix = self.far.prefix if self.far and name == "far" else ()
        self.run(name, [*prefix, binary(), *ours.command(self.folder, name, changes, ".")[1:]])

    def run_caller(self) -> None:
        """Starts the sidecar of the callers; it finds in its state folder what its predecessor left."""
        state = self.folder / "caller-state"
        if not state.exists():
            enrol(state, self.folder / "caller", "bench/caller")
        admin = str(self.folder / "caller.sock")
        self.run(
            "caller",
            [binary(), "run", "--join", self.control.address, "--state", str(state), "--admin", admin],
        )

    async def serves(self) -> None:
        """Waits until both sidecars listen and the caller's serves what the control plane has."""
        for port in self.binds.values():
            await until(lambda port=port: listens("127.0.0.1", port), f"the caller's sidecar listens on {port}")
        for place in self.places.values():
            host = place.far.address if place.far else "127.0.0.1"
            await until(lambda at=(host, place.sidecar): listens(*at), f"the sidecar of {place.name} listens")
        await until(lambda: self.control.streams, "the caller's sidecar follows the control plane")
        await self.control.push([])

    async def push(self, places: Iterable[str]) -> None:
        """Tells the caller's sidecar which places there are; returns when it serves that."""
        await self.control.push(self.endpoints(places))

    def endpoints(self, names: Iterable[str]) -> list[resource_pb2.Resource]:
        """Both Services with these places, as the control plane says it."""
        return told.endpoints([self.places[name] for name in names])

    def load(self, rate: int, seed: int, without: str = "") -> Load:
        """A load on both Services, `without` one kind of callers."""
        kinds = [(caller, share) for caller, share in self.callers if caller.name != without]
        return Load(kinds, rate, seed, lambda: self.origins.seen)

    def residue(self, proxy: str) -> residue.Residue:
        """What "caller" or "called" holds."""
        return residue.of(self.processes[proxy].pid, self.folder / f"{proxy}.sock")

    def log(self, proxy: str) -> list[dict[str, object]]:
        """The access log so far."""
        lines = (self.folder / f"{proxy}.log").read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def show(self) -> None:
        """What both sidecars said at last."""
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}")

    def run(self, name: str, command: list[str]) -> None:
        """Starts a sidecar."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)


@asynccontextmanager
async def running(
    folder: Path,
    alpha: int = 3,
    beta: int = 3,
    backend: service_pb2.BackendTraffic | None = None,
    calls: service_pb2.CallTraffic | None = None,
    far: Far | None = None,
) -> AsyncIterator[Rig]:
    """A mesh that is up; ended whatever happens, and what its sidecars said is shown (pytest keeps it for failures)."""
    rig = Rig(folder, {"alpha": alpha, "beta": beta}, far)
    try:
        await rig.start(backend or service_pb2.BackendTraffic(), calls or service_pb2.CallTraffic())
        async with callers(rig.binds["alpha"], rig.binds["beta"]) as rig.callers:
            yield rig
    finally:
        await rig.stop()
        rig.show()


def enrol(state: Path, leaf: Path, workload: str) -> None:
    """A state folder as a proxy that joined before left it: its certificate is valid for longer than any test."""
    identity = state / "identity"
    identity.mkdir(parents=True, mode=0o700)
    state.chmod(0o700)
    (state / "joined.json").write_text(json.dumps({"workload": workload, "identityAddress": "127.0.0.1:1"}))
    secret = identity / "identity.pem"
    secret.touch(0o600)
    secret.write_bytes((leaf / "leaf.key").read_bytes() + (leaf / "leaf.pem").read_bytes())
    (identity / "roots.pem").write_bytes((leaf / "roots.pem").read_bytes())


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Waits for a condition and gives how long it took; fails at the deadline."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, f"within {seconds:g} s it did not happen that {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def terminate(process: subprocess.Popen[bytes], seconds: float) -> float:
    """SIGTERM; gives how long the process took to end."""
    os.kill(process.pid, signal.SIGTERM)
    return await until(lambda: process.poll() is not None, "the proxy ended", seconds)
