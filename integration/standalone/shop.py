"""Owns the mesh that these tests run: its YAML, its processes, its sidecars, and the questions put to it.

Called by the fixtures. Everything is a real process on loopback: `plait up` as it is installed, applications beside it.
"""

import json
import os
import random
import shutil
import signal
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
PATIENCE_SECONDS = 20.0
# Nobody else here chooses among these: not the control plane (20000 to 31999), not the bookshop, not the kernel.
PORTS = range(10_000, 18_000)
BINDS = ("web_out", "guest_out", "ledger_bind", "stock_bind", "chat_bind", "guest_bind")
APPLICATIONS = {"stock_1": "http", "stock_2": "http", "ledger": "tcp", "chat": "chat"}


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"within {seconds:g} s it did not happen that {what}"
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Whether somebody takes connections on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Shop:
    """One mesh. Use: `start`, later `stop`."""

    def __init__(self) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="plait-test-"))
        self.yaml = self.folder / "shop"
        self.state = self.folder / "state"
        names = (*BINDS, *APPLICATIONS)
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.applications: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts applications and mesh, and waits until every sidecar is current."""
        self.yaml.mkdir()
        self.write("shop.yaml", string.Template((HERE / "shop.yaml").read_text()).substitute(self.ports))
        for name in APPLICATIONS:
            self.start_application(name)
        done = self.plait("up", str(self.yaml), "--state", str(self.state), "--detach")
        assert done.returncode == 0, done.stderr
        for name in APPLICATIONS:
            until(lambda name=name: accepts(self.ports[name]), f"{name} listens")

    def stop(self) -> None:
        """Ends everything that runs, and tells what the parts said (pytest shows it when a test failed)."""
        self.plait("down", "--state", str(self.state))
        for process in self.applications.values():
            process.kill()
            process.wait()
        for log in sorted(self.state.glob("**/log")):
            if log.is_file():
                print(f"--- {log.relative_to(self.state)}\n{log.read_text(errors='replace')[-3000:]}")
        try:
            until(lambda: not self.processes(), "no process is left behind", 2)
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder)

    def start_application(self, name: str) -> None:
        """Starts one process, or starts it again."""
        command = [sys.executable, str(HERE / "application.py"), APPLICATIONS[name], str(self.ports[name])]
        self.applications[name] = subprocess.Popen([*command, name.replace("_", "-")])

    def write(self, name: str, text: str) -> None:
        """Writes a file of the folder as editors do: beside it, then renamed over it."""
        beside = self.yaml / f".{name}.new"
        beside.write_text(text)
        beside.replace(self.yaml / name)

    def plait(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the command."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PLAIT_MESH")}
        return subprocess.run(
            [str(PLAIT), *words], capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    def ask(self, *words: str) -> Any:
        """The answer of a verb as JSON."""
        done = self.plait(*words, "--state", str(self.state), "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def admin(self, workload: str, path: str) -> httpx.Response:
        """GET on the admin socket of a sidecar."""
        transport = httpx.HTTPTransport(uds=str(self.state / "sockets" / f"proxy-shop.{workload}.sock"))
        with httpx.Client(transport=transport, timeout=5, trust_env=False) as client:
            return client.get(f"http://admin{path}")

    def generation(self, workload: str = "web-1") -> int:
        """What a sidecar serves."""
        return int(self.admin(workload, "/config").json()["generation"])

    def current(self) -> bool:
        """Whether every sidecar serves what it should."""
        return self.plait("status", "--wait", "--timeout", "15", "--state", str(self.state)).returncode == 0

    def processes(self, *words: str) -> list[int]:
        """Process ids of the mesh's parts whose command line has all words."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(self.folder) in line and all(word in line for word in words) and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
        return sorted(found)

    def sidecar(self, workload: str) -> int:
        """The process id of a sidecar."""
        (pid,) = self.processes("plait-proxy", f"proxy-shop.{workload}.sock")
        return pid
