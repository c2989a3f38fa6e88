"""Owns what the bookshop's HTTP processes share: a threaded server with keep-alive that answers JSON.

Knows nothing of the mesh.
"""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, object]]


class Server(ThreadingHTTPServer):
    """One thread a connection; a process that ends does not wait for them."""

    daemon_threads = True
    request_queue_size = 128


def serve(port: int, instance: Mapping[str, str], answer: Callable[[str], Answer]) -> None:
    """Answers GET and HEAD on 127.0.0.1:`port` for ever. `instance` (who answers) joins each answer and its headers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body leave in one write

        def do_GET(self) -> None:
            status, facts = answer(self.path)
            body = json.dumps({**facts, **instance}).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            for name, value in instance.items():
                self.send_header(f"x-{name}", value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Access is logged by the mesh."""

    Server(("127.0.0.1", port), Handler).serve_forever()
