"""Owns who is measured: a contender is the processes of one maker that together do one piece of work.

Called by groups.py. Knows no configuration: that is ours.py and the files of the peers.
"""

import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import measure
import ours
import peer_envoy
import peer_haproxy
import peer_nginx
from load import PLAIN, Asked
from protocol import Protocol

FIRST_PORT = 19000
END_SECONDS = 5


@dataclass(frozen=True)
class Contender:
    """`name`: the maker, then what sets it apart within the group ("plait pair"). `port`: where the load goes.

    `commands`: the processes whose CPU time and memory count. `inner`: a port between them. `asked`: what it is loaded
    with, where the cases do not say it.
    """

    name: str
    port: int
    commands: list[list[str]]
    inner: int | None = None
    asked: Asked = PLAIN

    @property
    def maker(self) -> str:
        return self.name.split()[0]

    def twin(self, maker: str) -> str:
        """The contender of another maker that does the same."""
        return f"{maker}{self.name.removeprefix(self.maker)}"


@dataclass
class Bench:
    """What the groups of one run share. `origins`: ports of the origins that speak a protocol."""

    folder: Path
    root: bytes
    origins: dict[Protocol, list[int]] = field(default_factory=dict)
    ports: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_PORT))

    def port(self) -> int:
        """A port that nobody has in this run, nor anybody else."""
        for port in self.ports:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return port
        raise RuntimeError("the ports have come to their end")


def hops(bench: Bench, protocol: Protocol) -> list[Contender]:
    """One proxy, plaintext on both sides."""
    origins, folder = bench.origins[protocol], bench.folder
    port = bench.port()
    found = [Contender("plait", port, [ours.hop(folder, bench.root, (port, bench.port()), origins, protocol)])]
    if peer_nginx.speaks(protocol):
        found.append(Contender("nginx", port := bench.port(), [peer_nginx.hop(folder, port, origins, protocol)]))
    if peer_haproxy.installed():
        found.append(Contender("haproxy", port := bench.port(), [peer_haproxy.hop(folder, port, origins, protocol)]))
    if peer_envoy.binary():
        found.append(Contender("envoy", port := bench.port(), [peer_envoy.hop(folder, port, origins, protocol)]))
    return found


def pairs(bench: Bench, protocol: Protocol) -> list[Contender]:
    """Two proxies with mutual TLS 1.3 between them. HAProxy is compared as a hop alone."""
    origins, folder = bench.origins[protocol], bench.folder
    outer, inner = bench.port(), bench.port()
    commands = ours.pair(folder, bench.root, (outer, inner, bench.port()), origins, protocol)
    found = [Contender("plait pair", outer, commands, inner)]
    if peer_nginx.speaks(protocol):
        outer, inner = bench.port(), bench.port()
        found.append(Contender("nginx pair", outer, peer_nginx.pair(folder, (outer, inner), origins, protocol), inner))
    if peer_envoy.binary():
        outer, inner = bench.port(), bench.port()
        found.append(Contender("envoy pair", outer, peer_envoy.pair(folder, (outer, inner), origins, protocol), inner))
    return found


def tell_who_is_missing() -> None:
    present = {
        "nginx": peer_nginx.speaks(Protocol.HTTP),
        "nginx's stream module": peer_nginx.speaks(Protocol.TCP),
        "haproxy": peer_haproxy.installed(),
        "envoy": peer_envoy.binary(),
    }
    for peer, there in present.items():
        if not there:
            print(f"{peer} is not installed: left out", file=sys.stderr)


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def running(contenders: list[Contender], log: Path) -> Iterator[dict[str, list[int]]]:
    """Starts them; gives the process ids of each by its name. All listen."""
    with ExitStack() as stack:
        pids = {}
        for contender in contenders:
            started = [stack.enter_context(process(command, log)) for command in contender.commands]
            pids[contender.name] = [child.pid for child in started]
        for contender in contenders:
            for port in filter(None, (contender.inner, contender.port)):
                try:
                    measure.wait_for_port(port)
                except TimeoutError as error:
                    raise RuntimeError(
                        f"{contender.name}: {error}; the logs end with\n{log.read_text()[-2000:]}"
                    ) from error
        yield pids
