"""Owns the running demo: the bookshop's processes, its mesh, and the load with its records.

Called by `plait demo`; the claims act on it (kill a process, edit a file) and read `calls`. Must not judge: claims do.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from plait_cli.client import Admin
from plait_cli.errors import USAGE, Failure
from plait_cli.laptop import Laptop
from plait_cli.meshes import Mesh
from plait_cli.supervisor import Child, die_with_parent

RATE = 200.0
PROXY_OF_WEB = "127.0.0.1:18201"
APPLICATIONS: dict[str, tuple[str, ...]] = {
    "web": ("web", "18001", "18301"),
    "catalog": ("catalog", "18002"),
    "reviews-v1-1": ("reviews", "18003", "v1", "reviews-v1-1"),
    "reviews-v1-2": ("reviews", "18006", "v1", "reviews-v1-2"),
    "reviews-v2-1": ("reviews", "18004", "v2", "reviews-v2-1"),
    "ledger": ("ledger", "18005"),
}
# Every port that the bookshop's YAML gives out: of processes, of web's sidecar, of the others' outbound sides.
PORTS = (*range(18001, 18007), 18101, *(18201, 18202, 18203, 18204, 18206), 18301)


@dataclass(frozen=True)
class Call:
    """One call of the load; times in seconds of the monotonic clock, status 0 = no answer."""

    kind: str
    began: float
    took: float
    status: int
    version: str
    instance: str
    error: str

    @property
    def lost(self) -> bool:
        """Whether the caller did not get what it asked for."""
        return self.status != 200


class Stage:
    """The demo while it runs. `directory` holds its YAML."""

    def __init__(self, mesh: Mesh, directory: Path, say: Callable[[str, str], None]) -> None:
        self.mesh = mesh
        self.directory = directory
        self.laptop = Laptop(mesh, directory, say)
        self.applications = {name: self._application(name, words) for name, words in APPLICATIONS.items()}
        self.calls: list[Call] = []
        self._load: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    def _application(self, name: str, words: tuple[str, ...]) -> Child:
        command = [sys.executable, "-m", f"plait_cli.demo.app.{words[0]}", *words[1:]]
        proxy = {"http_proxy": f"http://{PROXY_OF_WEB}", "no_proxy": ""}
        return Child(name, command, self.mesh.log / f"{name}.out", self.laptop.log_and_say, environment=proxy)

    async def start(self, progress: Callable[[str], None]) -> dict[str, Any]:
        """Starts processes and mesh; returns /v1/mesh when all is ready."""
        busy = [port for port in PORTS if taken(port)]
        if busy:
            raise Failure(
                f"port {busy[0]} is in use, the bookshop needs it", f"ss -tlnp 'sport = {busy[0]}' shows who", USAGE
            )
        for child in self.applications.values():
            child.start()
        self.laptop.start()
        return await self.laptop.wait_ready(progress)

    async def start_load(self) -> None:
        """Starts the load; its calls begin to appear in `calls`."""
        command = [sys.executable, "-m", "plait_cli.demo.traffic", str(RATE)]
        self._load = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, start_new_session=True, preexec_fn=die_with_parent
        )
        self._reader = asyncio.create_task(self._read(self._load))

    async def _read(self, load: asyncio.subprocess.Process) -> None:
        stream = load.stdout
        while stream is not None and (line := await stream.readline()):
            self.calls.append(Call(*json.loads(line)))

    async def stop(self) -> None:
        """Ends the load, then the mesh, then the processes."""
        if self._load is not None and self._load.returncode is None:
            self._load.kill()
            await self._load.wait()
        if self._reader is not None:
            await self._reader
        await self.laptop.stop()
        await asyncio.gather(*(child.stop() for child in self.applications.values()))

    async def observe(self, seconds: float) -> list[Call]:
        """The calls that begin within the next seconds."""
        return await self.since(time.monotonic(), seconds)

    async def since(self, began: float, seconds: float = 0.0) -> list[Call]:
        """The calls that began after `began`, once `seconds` more have passed and those in flight had time to end."""
        await asyncio.sleep(seconds)
        ended = time.monotonic()
        await asyncio.sleep(0.5)
        return [call for call in self.calls if began <= call.began <= ended]

    def admin(self, workload: str) -> Admin:
        """The admin socket of a sidecar of the bookshop, by the name of its Workload."""
        return Admin(self.mesh, f"bookshop/{workload}")

    def on_the_way(self, workload: str) -> list[int]:
        """The processes that a change passes through to a sidecar and to us: control plane, sidecar, this one."""
        control, sidecar = self.laptop.control.pid, self.laptop.children[f"bookshop/{workload}"].pid
        family = [control, *descendants(control)] if control is not None else []
        return [*family, *([sidecar] if sidecar is not None else []), os.getpid()]

    def edit(self, file: str, text: str) -> None:
        """Replaces a file as editors do: written beside, then renamed over it."""
        beside = self.directory / f".{file}.new"
        beside.write_text(text)
        beside.replace(self.directory / file)

    def read(self, file: str) -> str:
        """A file of the demo's YAML."""
        return (self.directory / file).read_text()

    def kill_control_plane(self) -> None:
        """Kills the control plane with its children, as a machine out of memory would; it stays away until released."""
        child = self.laptop.control
        family = descendants(child.pid) if child.pid is not None else []
        child.kill(hold=True)
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def copy_yaml(directory: Path) -> None:
    """Copies the bookshop's YAML, comments and all, to where the user can edit it."""
    directory.mkdir(parents=True, exist_ok=True)
    with as_file(files("plait_cli.demo") / "mesh") as source:
        for path in sorted(source.glob("*.yaml")):
            shutil.copyfile(path, directory / path.name)


def taken(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def descendants(pid: int) -> list[int]:
    """All processes below a process."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(path.parent.name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found
