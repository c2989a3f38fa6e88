"""Owns a mesh on one machine: the control plane and a sidecar beside each Workload, as supervised children.

Called by `up` and by the demo. Sidecars come and go with their Workloads. Must not interpret the YAML: it asks the API.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait_cli.binaries import locate
from plait_cli.client import Admin, Api, Unreachable, name_of
from plait_cli.errors import Failure
from plait_cli.meshes import Mesh
from plait_cli.supervisor import Child, Say, cap

POLL_SECONDS = 0.25
# A first start takes two seconds on a machine that is idle, and half a minute on one with ten times the work it can do.
READY_SECONDS = 60.0
# A sidecar that fell waits for its token only so long: with what it has on disk it can serve without one.
TOKEN_SECONDS = 1.0
CONTROL = "control-plane"


@dataclass(frozen=True)
class Python:
    """Where the mesh's plugins come from: a folder of wheels for Plugins that name a digest, and the file that names
    the control plane's own.
    """

    wheels: Path | None = None
    hooks: Path | None = None


class Laptop:
    """One running mesh. Use: `start`, `wait_ready`, then `stop`; `children` by name (Workloads as "namespace/name")."""

    def __init__(self, mesh: Mesh, directory: Path, say: Say, python: Python | None = None) -> None:
        self.mesh = mesh
        self.python = python or Python()
        self.directory = directory
        self.say = say
        self.api = Api(mesh)
        self.children: dict[str, Child] = {}
        self._reconciler: asyncio.Task[None] | None = None

    @property
    def control(self) -> Child:
        """The control plane's child."""
        return self.children[CONTROL]

    def start(self) -> None:
        """Starts the control plane, and sidecars as soon as it knows their Workloads."""
        mesh = self.mesh
        for folder in (mesh.control, mesh.log):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in mesh.sockets.glob("*.sock"):
            stale.unlink()
        record = {"name": mesh.name, "directory": str(self.directory.absolute()), "pid": os.getpid()}
        mesh.record.write_text(json.dumps(record))
        command = [locate("plait-controlplane"), "serve", "--source", str(self.directory)]
        command += ["--state", str(mesh.control), "--sockets", str(mesh.sockets)]
        command += ["--hooks", str(self.python.hooks.absolute())] if self.python.hooks is not None else []
        locate("plait-proxy")
        self.children[CONTROL] = Child(CONTROL, command, mesh.log / "control-plane.out", self.log_and_say)
        self.control.start()
        self._reconciler = asyncio.create_task(self._reconcile_forever(), name="sidecars")

    async def stop(self) -> None:
        """Ends everything: sidecars first, so that they drain while they still have a control plane."""
        if self._reconciler is not None:
            self._reconciler.cancel()
            await asyncio.wait({self._reconciler})
        control = self.children.pop(CONTROL, None)
        await asyncio.gather(*(child.stop() for child in self.children.values()))
        self.children.clear()
        if control is not None:
            await control.stop()
        self.mesh.record.unlink(missing_ok=True)

    async def wait_ready(
        self, progress: Callable[[str], None], deadline_seconds: float = READY_SECONDS
    ) -> dict[str, Any]:
        """Blocks until every sidecar is current; returns /v1/mesh. Raises Failure at the deadline."""
        deadline = time.monotonic() + deadline_seconds
        missing = "the control plane does not answer yet"
        while time.monotonic() < deadline:
            try:
                missing = await asyncio.to_thread(self.missing)
                if not missing:
                    return await asyncio.to_thread(self.api.mesh)
            except Unreachable as error:
                missing = error.message
            progress(missing)
            await asyncio.sleep(0.05)
        raise Failure(f"not ready after {deadline_seconds:.0f} s: {missing}", f"what the parts said: {self.mesh.log}")

    def missing(self) -> str:
        """What keeps the mesh from being ready; empty = nothing. Raises Failure when waiting would not help."""
        wanted = {name_of(workload) for workload in self.api.workloads()}
        if not wanted:
            raise Failure(f"{self.directory} has no Workload that can be in force", f"plait lint {self.directory}")
        current = {name for proxy in self.api.proxies() if proxy["current"] for name in proxy["workloads"]}
        if late := sorted(wanted - current):
            return f"waiting for the sidecars of {', '.join(late)}"
        for name in sorted(wanted):
            if reason := Admin(self.mesh, name).ready():
                return f"{name}: {reason}"
        return ""

    async def _reconcile_forever(self) -> None:
        while True:
            try:
                wanted = {name_of(entry): entry for entry in await asyncio.to_thread(self.api.workloads)}
            except Failure:
                wanted = None  # the control plane is away: what runs goes on
            if wanted is not None:
                await self._reconcile(set(wanted))
            for child in list(self.children.values()):
                cap(child.output)
                cap(child.output.with_name("log"))
            await asyncio.sleep(POLL_SECONDS)

    async def _reconcile(self, wanted: set[str]) -> None:
        for name in sorted(wanted - set(self.children)):
            self.children[name] = self._sidecar(name)
            self.children[name].start()
        for name in sorted(set(self.children) - wanted - {CONTROL}):
            self.say(name, "its Workload is gone; the sidecar ends")
            await self.children.pop(name).stop()

    def _sidecar(self, name: str) -> Child:
        folder = self.mesh.proxy_folder(name)
        token = folder / "token"
        command = [locate("plait-proxy"), "run", "--join", "", "--token-file", str(token)]
        command += ["--state", str(folder / "state"), "--admin", str(self.mesh.admin(name))]
        # Packages of Plugins come from the environment that this command runs in.
        command += ["--python", sys.executable]
        if self.python.wheels is not None:
            command += ["--plugins", str(self.python.wheels.absolute())]

        async def prepare() -> None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            command[3] = await asyncio.to_thread(self._join, name, folder)
            self.mesh.admin(name).unlink(missing_ok=True)

        return Child(name, command, folder / "access.log", self.log_and_say, prepare)

    def _join(self, name: str, folder: Path) -> str:
        """Writes a fresh token and returns the address of discovery. Without the control plane those of last time."""
        token, address = folder / "token", folder / "discovery"
        try:
            joined = self.api.join_token(name, timeout_seconds=TOKEN_SECONDS)
        except Failure:
            if address.exists():
                return address.read_text()
            raise
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(joined["token"])
        address.write_text(joined["discovery"])
        return joined["discovery"]

    def log_and_say(self, name: str, line: str) -> None:
        """Keeps a child's line in its log and passes it on."""
        child = self.children.get(name)
        folder = child.output.parent if child is not None else self.mesh.log
        with (folder / "log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {name} {line}\n")
        self.say(name, line)
