"""Owns the mesh that these tests run: its YAML, its processes, and calls through it. Called by the fixtures.

Everything is a real process on loopback: `plait up` as it is installed, plugins in workers, an application behind them.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PLAIT = Path(sys.executable).with_name("plait")
APPLICATION = HERE.parent / "standalone" / "application.py"
PATIENCE_SECONDS = 60.0
PORTS = range(10_000, 18_000)


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"within {PATIENCE_SECONDS:g} s it did not happen that {what}"
        time.sleep(0.02)


def live(mesh: "Mesh", word: str = "one") -> None:
    """Waits until calls pass the probe of this word."""
    until(lambda: mesh.call().headers.get("x-answered") == word, f"the plugin writes {word}")


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Mesh:
    """One mesh. Use: `start`, later `stop`; `attach` and `detach` plugins between calls."""

    def __init__(self) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="plait-plug-"))
        self.yaml, self.state = self.folder / "shop", self.folder / "state"
        self.wheels = self.folder / "wheels"
        self.ports = {name: free_port() for name in ("web_out", "stock", "next")}
        self.applications: list[subprocess.Popen[bytes]] = []
        self.digest = ""

    def start(self) -> None:
        """Starts applications and mesh, and waits until every sidecar is current."""
        self.yaml.mkdir()
        self.wheels.mkdir()
        self.digest = self.build(HERE / "package")
        self.write("mesh.yaml", string.Template((HERE / "mesh.yaml").read_text()).substitute(self.ports))
        for port, name in (("stock", "stock-1"), ("next", "next-1")):
            command = [sys.executable, str(APPLICATION), "http", str(self.ports[port]), name]
            self.applications.append(subprocess.Popen(command))
        done = self.plait("up", str(self.yaml), "--state", str(self.state), "--plugins", str(self.wheels), "--detach")
        assert done.returncode == 0, done.stderr
        until(lambda: self.call().status_code == 200, "the Service answers")

    def build(self, package: Path) -> str:
        """Puts a wheel of a package where plugins are taken from; its digest."""
        fresh = Path(tempfile.mkdtemp(dir=self.folder))
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(fresh)]
        subprocess.run(command, cwd=package, check=True, capture_output=True)
        (wheel,) = fresh.glob("*.whl")
        return self.publish(wheel)

    def publish(self, wheel: Path) -> str:
        """Puts a wheel where plugins are taken from, whole at once; its digest."""
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        beside = self.wheels / ".new"
        shutil.copy(wheel, beside)
        beside.replace(self.wheels / wheel.name)
        return f"sha256:{digest}"

    def stop(self) -> None:
        """Ends everything, and tells what the parts said (pytest shows it when a test failed)."""
        self.plait("down", "--state", str(self.state))
        for application in self.applications:
            application.kill()
            application.wait()
        for log in sorted([*self.state.glob("**/log"), *self.state.glob("**/up.log")]):
            if log.is_file():
                print(f"--- {log.relative_to(self.state)}\n{log.read_text(errors='replace')[-4000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Writes a file of the folder as editors do: beside it, then renamed over it."""
        beside = self.yaml / f".{name}.new"
        beside.write_text(text)
        beside.replace(self.yaml / name)

    def attach(self, name: str, **spec: Any) -> None:
        """Writes a Plugin of the test package; returns when what it says of itself is told."""
        whole = {
            "package": "plait-probe",
            "plugin": "probe",
            "digest": self.digest,
            "direction": "Inbound",
            "targetRefs": [{"group": "", "kind": "Service", "name": "stock"}],
            **spec,
        }
        resource = {
            "apiVersion": "plait.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": whole,
        }
        self.write(f"{name}.yaml", json.dumps(resource))

    def detach(self, *names: str) -> None:
        """Takes Plugins away and waits until calls pass none."""
        for name in names:
            (self.yaml / f"{name}.yaml").unlink()
        until(lambda: self.call().headers.get("x-answered") is None, "no plugin answers any more")

    def call(
        self, path: str = "/", do: str = "", body: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One request of web-1 to stock."""
        headers = {"host": "stock", **({"x-do": do} if do else {}), **(headers or {})}
        url = f"http://127.0.0.1:{self.ports['web_out']}{path}"
        with httpx.Client(timeout=30, trust_env=False) as client:
            return client.request("POST" if body else "GET", url, headers=headers, content=body or None)

    def received(self, **asked: Any) -> dict[str, Any]:
        """What the application got of a request."""
        answer = self.call(**asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def plait(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the command."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PLAIT_MESH")}
        return subprocess.run(
            [str(PLAIT), *words], capture_output=True, text=True, check=False, timeout=120, env=environment
        )

    def ask(self, *words: str) -> Any:
        """The answer of a verb as JSON."""
        done = self.plait(*words, "--state", str(self.state), "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def status(self, name: str) -> tuple[str, str]:
        """State of a Plugin and what is told of it."""
        found = [one for one in self.ask("status")["objects"] if (one["kind"], one["name"]) == ("Plugin", name)]
        return (found[0]["status"], " ".join(p["message"] for p in found[0]["problems"])) if found else ("", "")

    def admin(self, workload: str, path: str) -> httpx.Response:
        """GET on the admin socket of a sidecar."""
        transport = httpx.HTTPTransport(uds=str(self.state / "sockets" / f"proxy-shop.{workload}.sock"))
        with httpx.Client(transport=transport, timeout=5, trust_env=False) as client:
            return client.get(f"http://admin{path}")

    def workers(self) -> int:
        """Processes that run plugins beside the sidecars."""
        found = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                parent = (path.parent / "stat").read_text().rpartition(")")[2].split()[1]
                line = path.read_bytes() + (Path("/proc") / parent / "cmdline").read_bytes()
            except OSError:
                continue
            found += b"plait_sdk.host" in line and str(self.folder).encode() in line
        return found
