"""Owns `plait plugin run`: a mesh of two workloads around a plugin, loaded anew whenever a file of it is saved.

Called by `verbs/plugin.py`. Each save builds the wheel and names its digest in the Plugin object, as a platform team
would: what runs here is what ships. A version that does not load changes nothing; the one before serves on.
"""

import asyncio
import json
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from watchfiles import PythonFilter, awatch

from plait_cli.client import Admin
from plait_cli.errors import Failure
from plait_cli.laptop import Laptop, Python
from plait_cli.meshes import place
from plait_cli.plugins import packages
from plait_cli.plugins.echo import HOST, Door, echo, serve
from plait_cli.plugins.project import Project

ECHO = "dev/echo-1"
LIVE_SECONDS = 60.0
"""A load that takes longer has failed: a proxy gives up on it sooner."""

YAML = """\
apiVersion: plait.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec: {{trustDomain: dev.example}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: dev}}
spec: {{selector: {{app: echo}}, ports: [{{name: http, port: 80, targetPort: http, appProtocol: http}}]}}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {{name: caller-1, namespace: dev}}
spec: {{serviceAccount: caller, address: 127.0.0.1, sidecar: {{outbound: "127.0.0.1:{outbound}"}}}}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {{name: echo-1, namespace: dev, labels: {{app: echo}}}}
spec: {{serviceAccount: echo, address: 127.0.0.1, ports: [{{name: http, port: {echo}}}]}}
"""


@dataclass
class Run:
    """One run. `folder` holds the mesh's YAML, the wheels and the state, and is removed at the end."""

    project: Project
    plugin: str
    config: dict[str, Any]
    say: Callable[[str], None]
    folder: Path
    digest: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the sidecar loads the wheel of `digest`: what it says of the plugin before is of the one before."""

    async def serve(self, port: int) -> None:
        """Runs until SIGINT or SIGTERM."""
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        outbound = _free_port()
        backend, door = serve(0, echo), serve(port, Door(outbound, self.say))
        yaml, wheels = self.folder / "mesh", self.folder / "wheels"
        yaml.mkdir()
        wheels.mkdir()
        (yaml / "mesh.yaml").write_text(YAML.format(outbound=outbound, echo=backend.server_port))
        await asyncio.to_thread(self.build)
        laptop = Laptop(place("plugin-run", self.folder / "state"), yaml, self.heard, Python(wheels))
        try:
            laptop.start()
            await laptop.wait_ready(lambda missing: None)
            self.say(await self.loaded(laptop))
            self.say(f"Try:  curl http://{HOST}:{door.server_port}/acme/orders        Ctrl-C ends everything")
            await self._until(ended, laptop)
        finally:
            await laptop.stop()
            _end(backend, door)

    def heard(self, name: str, line: str) -> None:
        """Passes on what the plugin says in its worker, tracebacks too; the rest is in the logs."""
        who, told, text = line.partition(f"plugin dev/{self.plugin}: ")
        if name != ECHO or not told or who != "· ":
            return
        if text.startswith("info: loading from "):
            if self.digest.removeprefix("sha256:") in text:
                self.begun.set()
        else:
            self.say(f"  {text}")

    async def _until(self, ended: asyncio.Event, laptop: Laptop) -> None:
        """Loads what is saved until it is time to end."""
        source = self.project.folder / "src" if (self.project.folder / "src").is_dir() else self.project.folder
        async for changes in awatch(source, watch_filter=PythonFilter(), stop_event=ended):
            began = time.monotonic()
            saved = ", ".join(sorted({Path(path).name for _, path in changes}))
            try:
                if await asyncio.to_thread(self.build):
                    told, line, traceback = (await self.loaded(laptop)).partition("\n")
                    self.say(f"saved {saved} → {told} after {time.monotonic() - began:.1f} s{line}{traceback}".rstrip())
            except Failure as failure:
                self.say(f"saved {saved} → ✗ {failure.message}")

    def build(self) -> bool:
        """Builds the wheel and names it in the Plugin object; False when it is the one that is there."""
        wheel = packages.build(self.project, self.folder / "wheels", isolated=False)
        if wheel.digest == self.digest:
            return False
        self.digest = wheel.digest
        self.begun.clear()
        spec = {
            "package": wheel.package,
            "plugin": self.plugin,
            "digest": wheel.digest,
            "direction": "Inbound",
            "config": self.config,
            "targetRefs": [{"group": "", "kind": "Service", "name": "echo"}],
        }
        resource = {
            "apiVersion": "plait.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": self.plugin, "namespace": "dev"},
            "spec": spec,
        }
        beside = self.folder / "plugin.new"
        beside.write_text(json.dumps(resource))
        beside.replace(self.folder / "mesh" / "plugin.yaml")
        return True

    async def loaded(self, laptop: Laptop) -> str:
        """Waits until the sidecar loaded what was built last, and tells how that went.

        Raises:
            Failure: it said nothing for too long.
        """
        deadline = time.monotonic() + LIVE_SECONDS
        while time.monotonic() < deadline:
            if not self.begun.is_set():
                await asyncio.sleep(0.02)
                continue
            config = await asyncio.to_thread(Admin(laptop.mesh, ECHO).config)
            for one in config["plugins"]:
                if one["state"] == "live":
                    return f"{self.plugin}: generation {config['generation']} live"
                if one["state"] == "failed":
                    serves = " (the version before serves on)" if one["earlier_serves"] else ""
                    said, line, traceback = str(one["reason"]).partition("\n")
                    return f"✗ {said}{serves}{line}{traceback}"
            await asyncio.sleep(0.05)
        raise Failure(f"{self.plugin} was not loaded within {LIVE_SECONDS:.0f} s", f"what was said: {laptop.mesh.log}")


def run(project: Project, plugin: str, config: dict[str, Any], port: int, say: Callable[[str], None]) -> None:
    """Runs a plugin in a mesh of its own until Ctrl-C."""
    # Short: the path of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="plait-run-"))
    try:
        asyncio.run(Run(project, plugin, config, say, folder).serve(port))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _end(*servers: ThreadingHTTPServer) -> None:
    for server in servers:
        server.shutdown()
        server.server_close()
