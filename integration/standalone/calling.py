"""Owns how an application calls others: single requests in each of the three ways, and a bounded load.

The load records every answer, so that a test can say that none was lost.
"""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> dict[str, Any]:
        """The body of our applications."""
        return dict(json.loads(self.body))


def ask(
    port: int, target: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: str = ""
) -> Answer:
    """One request with `target` in the request line: an absolute URL (forward proxy) or a path (Host header)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(method, target, skip_host="host" in (headers or {}), skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body.encode() or None)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read().decode())
    finally:
        connection.close()


def tunnel(port: int, authority: str) -> tuple[int, socket.socket]:
    """CONNECT through the sidecar: the status, and the connection behind it."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(1)):
        head += piece
    return int(head.split()[1]), connection


def say(connection: socket.socket, line: str) -> str:
    """A line to the ledger and what it answers; empty when the connection has ended."""
    try:
        connection.sendall(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (piece := connection.recv(4096)):
            answer += piece
    except ConnectionError:
        return ""
    return answer.decode().strip()


@dataclass
class Load:
    """Calls from several threads, each on a connection that it keeps, until the context ends."""

    port: int
    url: str
    threads: int = 4
    pause_seconds: float = 0.02
    calls: list[tuple[float, int, str]] = field(default_factory=list)
    """When it began (monotonic), status (0 = no answer), who answered or what went wrong."""

    def __enter__(self) -> "Load":
        self._ended = threading.Event()
        self._running = [threading.Thread(target=self._work) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._running:
            thread.join()

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", self.url)
                answer = connection.getresponse()
                body = answer.read().decode()
                self.calls.append((began, answer.status, json.loads(body)["name"] if answer.status == 200 else body))
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self.calls.append((began, 0, f"{type(error).__name__}: {error}"))
            self._ended.wait(self.pause_seconds)
        connection.close()

    def answered_by(self, name: str, since: float = 0.0) -> int:
        """How many calls that began later than `since` an instance answered."""
        return sum(began > since and who == name for began, _, who in self.calls)

    def lost(self) -> Counter[str]:
        """What went wrong, how often; empty when every call was answered."""
        assert self.calls, "there was no load"
        return Counter(f"{status} {who}"[:200] for _, status, who in self.calls if status != 200)
