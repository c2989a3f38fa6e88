"""What reads the forwarded bytes: the program that forwards them, and three servers that were written without us.

A reader takes the bytes of one connection and gives the requests that it found in them, in order, until it refuses one.
"""

import io
import json
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import h11
import pytest

ROOT = Path(__file__).parents[2]
READY_SECONDS = 10  # nginx is up in a tenth of one


@dataclass(frozen=True)
class Message:
    """One request: method, target, and its body without framing."""

    method: str
    target: str
    body: bytes


Reader = Callable[[bytes], list[Message]]


@dataclass(frozen=True)
class Forwarded:
    """What is sent on for the bytes of a connection and the requests they were taken for, or the status of refusal."""

    status: int | None
    sent: bytes
    messages: list[Message]


@pytest.fixture(scope="session")
def reframe() -> Callable[[bytes], Forwarded]:
    """The codec as a program: bytes of a client in, bytes for a server out."""
    build = ["cargo", "build", "-q", "--locked", "-p", "plait-http1", "--example", "reframe", "--message-format=json"]
    output = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    artefacts = [json.loads(line) for line in output.splitlines()]
    program = next(a["executable"] for a in artefacts if a.get("executable") and a["target"]["name"] == "reframe")

    def run(request: bytes) -> Forwarded:
        done = subprocess.run([program], input=request, capture_output=True, check=False)
        if done.returncode == 1:
            return Forwarded(int(done.stdout), b"", [])
        assert done.returncode == 0, done.stderr
        lines = (line.split(" ") for line in done.stderr.decode().splitlines())
        return Forwarded(None, done.stdout, [Message(m, t, bytes.fromhex(b)) for m, t, b in lines])

    return run


def read_h11(sent: bytes) -> list[Message]:
    """h11 in the role of a server that answers each request with 200."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
    connection.receive_data(sent)
    messages: list[Message] = []
    method, target, body = "", "", b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return messages
        match event:
            case h11.Request():
                method, target, body = event.method.decode(), event.target.decode(), b""
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                messages.append(Message(method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return messages
                connection.start_next_cycle()
            case _:
                return messages


class _Recorder(BaseHTTPRequestHandler):
    """`http.server` with bodies: a Content-Length as handlers read it, chunks with the reader of `http.client`."""

    protocol_version = "HTTP/1.1"
    server: Any  # something with a list `messages`

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(128 * 1024)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.server.messages.append(Message(self.command, self.path, self._body()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks: Any = HTTPResponse(_Socket(self.rfile))  # type: ignore[arg-type]
        chunks.chunked, chunks.chunk_left, chunks.length = True, None, None
        body: bytes = chunks.read()
        return body

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Socket:
    """Lends a stream to `HTTPResponse`, which closes what it was given at the end of the chunks."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _Unclosed(self._stream)  # type: ignore[return-value]


class _Unclosed:
    def __init__(self, stream: Any) -> None:
        self.read, self.readline, self.readinto = stream.read, stream.readline, stream.readinto

    def close(self) -> None:
        """The stream goes on with the next request."""


def read_http_server(sent: bytes) -> list[Message]:
    """`http.server` of the standard library, on one end of a pair of sockets."""

    class Server:
        messages: list[Message] = []  # noqa: RUF012 (one class a call)

    client, server = socket.socketpair()
    with client, server:

        def write() -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        _Recorder(server, ("", 0), Server)  # type: ignore[arg-type]
        writer.join()
    return Server.messages


NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen unix:{folder}/nginx.sock;
    large_client_header_buffers 4 128k;
    location / {{ proxy_pass http://unix:{folder}/origin.sock; }}
  }}
}}
"""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """nginx, which frames each request anew for an origin that records it."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed: what it reads is not compared (Debian: apt install nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))

    class Origin(socketserver.ThreadingUnixStreamServer):
        messages: list[Message]

    origin = Origin(str(folder / "origin.sock"), _Recorder)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    process = subprocess.Popen([program, "-e", folder / "error.log", "-c", folder / "nginx.conf"])

    def read(sent: bytes) -> list[Message]:
        origin.messages = []
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(READY_SECONDS)
            client.connect(str(folder / "nginx.sock"))
            client.sendall(sent)
            while client.recv(65536):
                pass
        return origin.messages

    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (folder / "nginx.sock").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx did not open its socket"
            time.sleep(0.01)
        yield read
    finally:
        process.terminate()
        process.wait()
        origin.shutdown()
        origin.server_close()


@pytest.fixture(scope="session")
def readers() -> dict[str, Reader]:
    """The readers that need nothing but this process."""
    return {"h11": read_h11, "http.server": read_http_server}
