"""A Service whose endpoints come from DNS: `plait up`, the plugin `dns-discovery`, a name server, and requests."""

import json
import os
import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import httpx
import pytest
from name_server import NameServer
from plugged import APPLICATION, Mesh, free_port, until

NAME = "_http._tcp.far.example.com"
HERE = Path(__file__).parent


class FarMesh(Mesh):
    """A mesh with two processes outside of it, and the name server that says where they are."""

    def __init__(self, names: NameServer) -> None:
        super().__init__()
        self.names = names
        self.far = {f"far-{number}": free_port() for number in (1, 2)}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hooks = self.folder / "hooks.yaml"

    def start(self) -> None:
        """Starts all of it, with one of the two processes known."""
        self.yaml.mkdir()
        for name, port in self.far.items():
            self.processes.append(subprocess.Popen([sys.executable, str(APPLICATION), "http", str(port), name]))
        self.known("far-1")
        self.write("mesh.yaml", string.Template((HERE / "discovery.yaml").read_text()).substitute(self.ports))
        config = {"services": [{"service": "shop/far", "name": NAME}], "servers": [self.names.address]}
        plugin = {"package": "plait-dns-discovery", "name": "dns", "config": {**config, "shortest_seconds": 0.05}}
        self.hooks.write_text(json.dumps({"plugins": [plugin]}))
        done = self.plait("up", str(self.yaml), "--state", str(self.state), "--hooks", str(self.hooks), "--detach")
        assert done.returncode == 0, done.stderr
        until(lambda: self.answered() == "far-1", "the process that DNS knows answers")

    def known(self, *names: str) -> None:
        """What DNS says from now on."""
        self.names.put(NAME, "SRV", *(f"0 1 {self.far[name]} {name}.example.com." for name in names), ttl=0)
        for name in self.far:
            self.names.put(f"{name}.example.com", "A", "127.0.0.1", ttl=0)

    def answered(self) -> str:
        """Which process answers a call to far; the status where the mesh does."""
        with httpx.Client(timeout=30, trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{self.ports['web_out']}/", headers={"host": "far"})
        return str(answer.json()["name"]) if answer.status_code == 200 else str(answer.status_code)

    def process(self, command: str) -> int:
        """A process of the control plane, 0 while there is none."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_text().split("\0")
            except OSError:
                continue
            if words[2:4] == ["plait_controlplane", command] and str(self.yaml) in words:
                return int(path.parent.name)
        return 0

    def stop(self) -> None:
        """Ends all of it."""
        super().stop()
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def far() -> Iterator[FarMesh]:
    with NameServer() as names:
        mesh = FarMesh(names)
        try:
            mesh.start()
            yield mesh
        finally:
            mesh.stop()


def test_requests_go_where_dns_says_also_when_it_says_something_else_or_nothing(far: FarMesh) -> None:
    (hooks,) = far.ask("status")["hooks"]
    assert (hooks["name"], hooks["state"], hooks["hooks"]) == ("dns", "Live", ["discover"])
    assert "dns live" in far.plait("status", "--state", str(far.state)).stdout
    far.known("far-2")
    until(lambda: far.answered() == "far-2", "calls follow DNS")
    far.known("far-1", "far-2")
    until(lambda: {far.answered() for _ in range(20)} == {"far-1", "far-2"}, "both share the calls")
    # From here on nobody can say where the Service is: what was known last serves on.
    far.names.rcode = dns.rcode.SERVFAIL
    asked = far.names.asked.total()
    until(lambda: far.names.asked.total() > asked + 2, "DNS was asked and failed")
    assert far.answered() in far.far
    killed = far.process("hooks")
    os.kill(killed, signal.SIGKILL)
    asked = far.names.asked.total()
    until(lambda: far.names.asked.total() > asked + 2, "DNS is asked by the process that took its place")
    assert far.process("hooks") not in (0, killed)
    assert far.answered() in far.far
