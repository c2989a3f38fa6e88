"""Owns the generators of load: wrk, h2load and our own plait-load. Called by groups.py; measures nothing itself.

A load whose answers are not all whole and as they should be is void, and says why.
"""

import functools
import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol import HOST, Protocol

HERE = Path(__file__).parent
SLACK_SECONDS = 30
# Fields such as "x-envoy-upstream-service-time: 12" differ in length from answer to answer by so much.
SLACK_BYTES = 8
GRPC_CLIENTS, GRPC_STREAMS = 8, 16
GRPC_ANSWER_BYTES = 105


@dataclass(frozen=True)
class Load:
    """`requests`: that were answered. `void`: why the figure does not count; empty when it does."""

    requests: int
    void: str


@dataclass(frozen=True)
class Asked:
    """A request of HTTP/1.1: a POST where it has a body. `fields`: beside the host. `status`: the one that is right."""

    path: str = "/"
    fields: tuple[str, ...] = ()
    body_bytes: int = 0
    status: int = 200


PLAIN = Asked()


def wrk(port: int, connections: int, seconds: int, asked: Asked = PLAIN) -> Load:
    size = answer_bytes(port, asked)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "wrk.lua")]
    command += [word for field in (f"Host: {HOST}", *asked.fields) for word in ("-H", field)]
    text = run([*command, f"http://127.0.0.1:{port}{asked.path}", "--", str(asked.body_bytes)], seconds)
    found = re.search(r"counted (\d+) (\d+) (\d+) (\d+)", text)
    if not found:
        return Load(0, "wrk printed no count")
    requests, received, refused, broken = map(int, found.groups())
    # wrk takes every status from 400 on for an error.
    wrong = requests - refused if asked.status >= 400 else refused
    if wrong or broken:
        return Load(requests, f"{wrong} not {asked.status // 100}xx, {broken} broken")
    # What was under way when the time was over counts as bytes alone.
    least, most = requests * (size - SLACK_BYTES), requests * (size + SLACK_BYTES) + connections * size
    return Load(requests, "" if least <= received <= most else f"{received} bytes in {requests} answers of {size}")


@functools.cache
def answer_bytes(port: int, asked: Asked) -> int:
    """How long a whole answer is, head and body; it must be of the right status and tell the length of its body."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request(asked))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += received(connection)
        head, body = answer.split(b"\r\n\r\n", 1)
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if not head.startswith(f"HTTP/1.1 {asked.status}".encode()) or not length:
            raise ConnectionError(f"port {port} answered {head.splitlines()[0]!r}")
        left = int(length.group(1)) - len(body)
        while left > 0:
            left -= len(received(connection))
        return len(head) + 4 + int(length.group(1))


def request(asked: Asked) -> bytes:
    fields = [f"Host: {HOST}", *asked.fields]
    fields += [f"Content-Length: {asked.body_bytes}"] if asked.body_bytes else []
    head = "\r\n".join([f"{'POST' if asked.body_bytes else 'GET'} {asked.path} HTTP/1.1", *fields, "", ""])
    return head.encode() + b"x" * asked.body_bytes


def received(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    if not data:
        raise ConnectionError("an answer was cut short")
    return data


def h2load(port: int, seconds: int, message: Path) -> Load:
    """Unary calls of gRPC. A call that the mesh or the origin refused has no message: the bytes tell."""
    command = ["h2load", "-t1", f"-c{GRPC_CLIENTS}", f"-m{GRPC_STREAMS}", f"-D{seconds}", "-d", str(message)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"--connect-to=127.0.0.1:{port}"]
    return calls(run([*command, f"http://{HOST}/bench.Echo/Unary"], seconds))


def calls(text: str) -> Load:
    """What h2load says. A status counts when the head has come, a success when the whole answer has."""
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    codes = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    data = re.search(r"\((\d+)\) data", text)
    if not done or not codes or not data:
        return Load(0, "h2load printed no count")
    requests, *broken = map(int, done.groups())
    refused = sum(map(int, codes.groups()))
    if refused or any(broken):
        return Load(requests, f"{refused} not 2xx, {sum(broken)} broken")
    least, under_way = requests * GRPC_ANSWER_BYTES, GRPC_CLIENTS * GRPC_STREAMS * GRPC_ANSWER_BYTES
    whole = least <= int(data.group(1)) <= least + under_way
    return Load(requests, "" if whole else f"{data.group(1)} bytes in {requests} answers of {GRPC_ANSWER_BYTES}")


def messages(port: int, connections: int, seconds: int) -> Load:
    """Messages of WebSocket, echoed."""
    return own(["exchange", "websocket", *exchange(port, connections, seconds)], seconds)


def relayed(port: int, connections: int, seconds: int, answer: int) -> Load:
    """Requests of 100 bytes that no proxy understands, answers of `answer` bytes."""
    return own(["exchange", "bytes", *exchange(port, connections, seconds), "--answer", str(answer)], seconds)


def exchange(port: int, connections: int, seconds: int) -> list[str]:
    return [f"127.0.0.1:{port}", "--connections", str(connections), "--seconds", str(seconds)]


@dataclass(frozen=True)
class Handshake:
    """How the server is spoken to: as whom, under which name, with which protocol and key exchange."""

    identity: Path
    name: str
    alpn: str
    group: str


def handshakes(port: int, seconds: int, handshake: Handshake) -> Load:
    """Full mutual handshakes; nothing is resumed and nothing is sent."""
    shown = ["--identity", str(handshake.identity), "--name", handshake.name]
    asked = ["--alpn", handshake.alpn, "--group", handshake.group, "--seconds", str(seconds)]
    return own(["handshake", f"127.0.0.1:{port}", *shown, *asked], seconds)


def times(port: int, rate: float, seconds: int) -> dict[str, Any]:
    """An open loop of `rate` requests a second: p50, p99 and p999 in µs, each from when the request was due."""
    return said(["latency", f"127.0.0.1:{port}", "--rate", str(rate), "--seconds", str(seconds)], seconds)


def origin(ports: dict[Protocol, int]) -> list[str]:
    """The command that serves all protocols but HTTP until it is killed."""
    options = {"grpc": Protocol.GRPC, "websocket": Protocol.WEBSOCKET, "bytes": Protocol.TCP}
    places = [(f"--{name}", f"127.0.0.1:{ports[protocol]}") for name, protocol in options.items()]
    return [str(binary()), "origin", *(word for place in places for word in place)]


def own(arguments: list[str], seconds: int) -> Load:
    done = said(arguments, seconds)
    return Load(done["requests"], f"{done['failed']} failed: {done['why']}" if done["failed"] else "")


def said(arguments: list[str], seconds: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([str(binary()), *arguments], seconds))
    return found


def binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
    return target / "release" / "plait-load"


def run(command: list[str], seconds: int) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK_SECONDS)
    if ended.returncode:
        raise ConnectionError(f"{Path(command[0]).name}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return ended.stdout
