"""A process behind a sidecar; it tells what it received, so that a test sees what the mesh did to it.

Run as `application.py http|tcp|chat PORT NAME`. HTTP: `/slow/SECONDS` answers late, `/stream/PIECES` in chunks with
pauses, `/flaky/TIMES/NAME` with 503 so many times, `/seen/PATH` how often a path was asked for, all else at once.
"""

import json
import socketserver
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from websockets.sync.server import ServerConnection, serve

PAUSE_SECONDS = 0.05


class HttpServer(ThreadingHTTPServer):
    """A thread a connection."""

    daemon_threads = True
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """Answers every method with what it got."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    name = ""
    seen: ClassVar[Counter[str]] = Counter()

    def answer(self) -> None:
        body = self.body()
        _, word, argument = [*self.path.split("/", 2), "", ""][:3]
        if word == "slow":
            time.sleep(float(argument))
        if word == "stream":
            self.stream(int(argument))
            return
        if word == "seen":
            self.send(200, str(self.seen[f"/{argument}"]))
            return
        self.seen[self.path] += 1
        if word == "flaky" and self.seen[self.path] <= int(argument.partition("/")[0]):
            self.send(503, "not yet")
            return
        received = {"name": self.name, "method": self.command, "path": self.path, "body": body.decode()}
        self.send(200, json.dumps({**received, "headers": {key.lower(): value for key, value in self.headers.items()}}))

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        return b"".join(pieces)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def stream(self, pieces: int) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(pieces):
            piece = f"{number}\n".encode()
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
            time.sleep(PAUSE_SECONDS)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """The mesh keeps the access log."""


class Echo(socketserver.StreamRequestHandler):
    """Each line comes back behind the name."""

    name = ""
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline(4096):
            self.wfile.write(f"{self.name} {line.decode()}".encode())


class TcpServer(socketserver.ThreadingTCPServer):
    """A thread a connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def chat(connection: ServerConnection) -> None:
    """Each message comes back, text as text, bytes as bytes."""
    for message in connection:
        connection.send(message)


def main() -> None:
    """Serves until killed."""
    kind, port, name = sys.argv[1:4]
    address = ("127.0.0.1", int(port))
    Handler.name = Echo.name = name
    if kind == "http":
        HttpServer(address, Handler).serve_forever()
    elif kind == "tcp":
        TcpServer(address, Echo).serve_forever()
    else:
        serve(chat, *address).serve_forever()


if __name__ == "__main__":
    main()
