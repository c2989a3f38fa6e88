"""Three servers that were written without us: nginx, h11 and `http.server`. Each records what it took for requests.

Called by the fixtures. A backend answers each request with 200 and says in `x-read` what it had read, so that a caller
sees whether the answers belong to its requests.
"""

import io
import shutil
import socketserver
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse, IncompleteRead
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import h11

LONGEST_LINE = 128 * 1024


@dataclass(frozen=True)
class Message:
    """One request: method, target, and its body without framing."""

    method: str
    target: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.target} ({self.body.hex()})"


@dataclass
class Backend:
    """`messages`: all that it read whole, in order."""

    name: str
    port: int
    messages: list[Message] = field(default_factory=list)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    backend: Backend


class _H11(socketserver.BaseRequestHandler):
    """h11 in the role of a server; a connection ends at what it refuses."""

    server: _Listener

    def handle(self) -> None:
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_LINE)
        try:
            while self._request():
                self.connection.start_next_cycle()
        except h11.RemoteProtocolError:
            self._answer(h11.Response(status_code=400, headers=[("content-length", "0")]))

    def _request(self) -> bool:
        method, target, body = "", "", b""
        while True:
            match self._event():
                case h11.Request() as head:
                    method, target = head.method.decode(), head.target.decode()
                case h11.Data() as piece:
                    body += bytes(piece.data)
                case h11.EndOfMessage():
                    message = Message(method, target, body)
                    self.server.backend.messages.append(message)
                    self._answer(
                        h11.Response(status_code=200, headers=[("content-length", "0"), ("x-read", str(message))])
                    )
                    return self.connection.our_state is not h11.MUST_CLOSE
                case _:
                    return False

    def _event(self) -> Any:
        while (event := self.connection.next_event()) is h11.NEED_DATA:
            self.connection.receive_data(self.request.recv(65536))
        return event

    def _answer(self, head: h11.Response) -> None:
        for event in (head, h11.EndOfMessage()):
            if data := self.connection.send(event):
                self.request.sendall(data)


class _HttpServer(BaseHTTPRequestHandler):
    """`http.server` with bodies: a Content-Length as handlers read it, chunks with the reader of `http.client`."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(LONGEST_LINE)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        try:
            message = Message(self.command, self.path, self._body())
        except IncompleteRead:
            self.close_connection = True
            return
        self.server.backend.messages.append(message)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("X-Read", str(message))
        self.end_headers()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                raise IncompleteRead(body)
            return body
        chunks: Any = HTTPResponse(_Socket(self.rfile))  # type: ignore[arg-type]  # all it asks of a socket
        chunks.chunked, chunks.chunk_left, chunks.length = True, None, None
        return bytes(chunks.read())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Socket:
    """Lends a stream to `HTTPResponse`, which closes what it was given at the end of the chunks."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _Unclosed(self._stream)  # type: ignore[return-value]  # all that is read of it


class _Unclosed:
    def __init__(self, stream: Any) -> None:
        self.read, self.readline, self.readinto = stream.read, stream.readline, stream.readinto

    def close(self) -> None:
        """The stream goes on with the next request."""


@contextmanager
def _listening(backend: Backend, handler: type[socketserver.BaseRequestHandler]) -> Iterator[Backend]:
    import threading

    with _Listener(("127.0.0.1", backend.port), handler) as server:
        server.backend = backend
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield backend
        finally:
            server.shutdown()


def h11_server(port: int) -> Any:
    """While the context lasts, h11 serves on the port."""
    return _listening(Backend("h11", port), _H11)


def http_server(port: int) -> Any:
    """While the context lasts, `http.server` serves on the port."""
    return _listening(Backend("http.server", port), _HttpServer)


# Its connections outlive all cases: one that it closes for its age would be an answer that no case asked for.
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    large_client_header_buffers 4 128k;
    location / {{ proxy_pass http://127.0.0.1:{origin}; }}
  }}
}}
"""


def nginx_program() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def nginx(program: str, port: int, origin: int, folder: Path, until: Callable[[int], None]) -> Iterator[Backend]:
    """nginx, which frames each request anew for an `http.server` that records it. `until`: waits for a port."""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, origin=origin))
    with _listening(Backend("nginx", origin), _HttpServer) as recorder:
        process = subprocess.Popen([program, "-e", folder / "error.log", "-c", folder / "nginx.conf"])
        try:
            until(port)
            yield recorder
        finally:
            process.terminate()
            process.wait()
