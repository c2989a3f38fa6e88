"""Owns "pods" that are network namespaces: each with a redirected proxy and an application, beside a node with the
control plane. Called by the fixture.

Everything is a real process; nothing outside the namespaces is touched.
"""

import json
import os
import shutil
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 60.0
PROXY_UID = 1337
NODE = {4: "10.77.0.1", 6: "fd77::1"}
LINK_LOCAL = "169.254.77.1"
POD_NUMBERS = {"web-1": 2, "echo-1": 3, "other-1": 4}
APPLICATION_PORT, UNDECLARED_PORT = 8080, 8081


def why_not() -> str:
    """What keeps these tests from running here; empty = nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "nft", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed: apt-get install iproute2 nftables util-linux"
    made = subprocess.run(["ip", "netns", "add", "plait-probe"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", "plait-probe"], capture_output=True, check=False)
    return f"no network namespace can be made here: {made.stderr.strip()}" if made.returncode else ""


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"within {PATIENCE_SECONDS:g} s it did not happen that {what}"
        time.sleep(0.05)


def address(pod: str, family: int = 4) -> str:
    """Of a pod."""
    number = POD_NUMBERS[pod]
    return f"10.77.0.{number}" if family == 4 else f"fd77::{number}"


class Pods:
    """Use: `start`, later `stop`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plait-pods-"))
        self.mark = f"pl{os.getpid() % 100000}"
        self._processes: list[subprocess.Popen[bytes]] = []
        # The proxy's user must be able to read it, wherever this checkout stands.
        self.folder.chmod(0o755)
        self.proxy = self.folder / "plait-proxy"
        shutil.copy(BIN / "plait-proxy", self.proxy)

    def start(self) -> None:
        """Network, control plane, pods; returns when every proxy is ready."""
        self._network()
        (self.folder / "mesh").mkdir()
        self.write("Allow")
        shared = [f"--source={self.folder}/mesh", f"--state={self.folder}/state", f"--sockets={self.folder}/sockets"]
        for name in ("state", "sockets"):
            (self.folder / name).mkdir(mode=0o700)
        serve = [str(BIN / "plait-controlplane"), "serve", *shared, f"--host={NODE[4]}"]
        self._spawn("node", "controlplane", serve)
        self.serve("node", "outside", 8080, 9999)
        until(lambda: (self.folder / "sockets/signer.sock").exists(), "the signer listens")
        for pod in POD_NUMBERS:
            self.redirect(pod)
            self._proxy(pod)
            self.serve(pod, pod, APPLICATION_PORT, UNDECLARED_PORT)
        for pod in POD_NUMBERS:
            until(lambda pod=pod: "✓ ready" in self.log(f"proxy-{pod}"), f"the proxy of {pod} is ready")
        for name in ("outside", *POD_NUMBERS):
            until(lambda name=name: (self.folder / f"{name}.up").exists(), f"the application {name} listens")

    def stop(self) -> None:
        """Ends everything, and tells what the parts said (pytest shows it when a test failed)."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        for name in ("node", *POD_NUMBERS):
            subprocess.run(["ip", "netns", "del", self._namespace(name)], capture_output=True, check=False)
        shutil.rmtree(self.folder)

    def write(self, egress: str) -> None:
        """The user's YAML."""
        text = string.Template((HERE / "mesh.yaml").read_text()).substitute(egress=egress)
        beside = self.folder / "mesh" / ".mesh.new"
        beside.write_text(text)
        beside.replace(self.folder / "mesh" / "mesh.yaml")

    def redirect(self, pod: str, *words: str) -> None:
        """Redirects as `words` say, else as the rules of these tests are."""
        options = words or (f"--proxy-uid={PROXY_UID}", "--exclude-outbound=9999")
        namespace = f"--netns=/var/run/netns/{self._namespace(pod)}"
        done = subprocess.run(
            [self.proxy, "redirect", *options, namespace], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def within(self, pod: str, *command: str) -> str:
        """What a command says there."""
        inside = ["ip", "netns", "exec", self._namespace(pod), *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, pod: str, **asked: Any) -> dict[str, Any]:
        """What came of one call of an application there; see `app.call`."""
        # Whoever calls as another user may not be able to read this checkout: it is read before.
        said = self.within(pod, sys.executable, str(HERE / "app.py"), "call", json.dumps(asked))
        return dict(json.loads(said))

    def get(self, pod: str, to: str, port: int, path: str = "/", host: str = "nobody", **more: Any) -> tuple[int, Any]:
        """Status and body of an answer of HTTP; (0, why) without one."""
        says = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        came = self.call(pod, address=to, port=port, says=says, **more)
        if not came.get("said"):
            return 0, came.get("why", "closed")
        head, _, body = came["said"].partition("\r\n\r\n")
        status = int(head.split()[1])
        return status, json.loads(body) if status == 200 else head + body

    def heard(self, name: str) -> str:
        """The first words of all connections that an application got."""
        file = self.folder / f"{name}.heard"
        return file.read_text(errors="replace") if file.exists() else ""

    def log(self, name: str) -> str:
        """What a process said."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def metrics(self, pod: str) -> str:
        """The page of a proxy."""
        return self.within(pod, sys.executable, "-c", _FETCH)

    def serve(self, pod: str, name: str, *ports: int) -> None:
        """Starts an application."""
        self._spawn(
            pod, name, [sys.executable, str(HERE / "app.py"), "serve", name, str(self.folder), *map(str, ports)]
        )

    def _proxy(self, pod: str) -> None:
        token = [
            str(BIN / "plait-controlplane"),
            "join-token",
            f"--sockets={self.folder}/sockets",
            f"--workload=shop/{pod}",
        ]
        state = self.folder / pod
        state.mkdir(mode=0o700)
        (state / "token").write_text(subprocess.run(token, capture_output=True, text=True, check=True).stdout)
        for path in (state, state / "token"):
            os.chown(path, PROXY_UID, PROXY_UID)
        as_proxy = ["setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups", "--no-new-privs"]
        run = [str(self.proxy), "run", f"--join={NODE[4]}:15012", f"--token-file={state}/token"]
        self._spawn(pod, f"proxy-{pod}", [*as_proxy, *run, f"--state={state}/state", f"--admin={state}/admin.sock"])

    def _network(self) -> None:
        node = self._namespace("node")
        script = [f"netns add {node}", f"-n {node} link set lo up", f"-n {node} link add pods type bridge"]
        script += [f"-n {node} addr add {NODE[4]}/24 dev pods", f"-n {node} addr add {NODE[6]}/64 dev pods nodad"]
        script += [f"-n {node} addr add {LINK_LOCAL}/16 dev pods", f"-n {node} link set pods up"]
        for pod, number in POD_NUMBERS.items():
            inside, leg = self._namespace(pod), f"leg{number}"
            script += [f"netns add {inside}", f"-n {inside} link set lo up"]
            script += [f"-n {node} link add {leg} type veth peer name eth0 netns {inside}"]
            script += [f"-n {node} link set {leg} master pods up"]
            script += [f"-n {inside} addr add {address(pod)}/24 dev eth0"]
            script += [f"-n {inside} addr add {address(pod, 6)}/64 dev eth0 nodad", f"-n {inside} link set eth0 up"]
            script += [
                f"-n {inside} route add default via {NODE[4]}",
                f"-n {inside} -6 route add default via {NODE[6]}",
            ]
        for line in script:
            done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"ip {line}: {done.stderr}"

    def _namespace(self, name: str) -> str:
        return f"{self.mark}-{name}"

    def _spawn(self, pod: str, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            inside = ["ip", "netns", "exec", self._namespace(pod), *command]
            self._processes.append(subprocess.Popen(inside, stdout=log, stderr=subprocess.STDOUT))


_FETCH = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:15020/metrics', timeout=20).read().decode())"
