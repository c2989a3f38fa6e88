"""Owns the two ends of `plait plugin run`: a service that tells what reached it, and a door that sends it requests
through the mesh.

Called by `running`. What the backend got and the caller did not send is what the plugin did.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HOST = "127.0.0.1"
SERVICE = "echo"
PATIENCE_SECONDS = 30.0

MESH_OWN = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "traceparent", "tracestate",
     "x-request-id", "keep-alive", "date", "server"}
)  # fmt: skip
"""Headers that change on any way through a mesh, plugin or not."""


def serve(
    port: int, answer: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, list[tuple[str, str]], bytes]]
) -> ThreadingHTTPServer:
    """A server on loopback in threads of its own; `shutdown` ends it. Port 0 is a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, content = answer(self, body)
            self.send_response_only(status)
            for name, value in [*headers, ("content-length", str(len(content)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """What there is to say is said by who answers."""

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    server = ThreadingHTTPServer((HOST, port), Handler)
    threading.Thread(target=server.serve_forever, name=f"http-{server.server_port}", daemon=True).start()
    return server


def echo(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """The service: what reached it, as JSON."""
    told = {
        "method": request.command,
        "target": request.path,
        "headers": [[name.lower(), value] for name, value in request.headers.items()],
        "body": body.decode("utf-8", "replace"),
    }
    return 200, [("content-type", "application/json")], json.dumps(told, indent=2).encode() + b"\n"


class Door:
    """Sends what comes in through the mesh, and tells of each request what became of it."""

    def __init__(self, outbound: int, say: Callable[[str], None]) -> None:
        self.url = f"http://{HOST}:{outbound}"
        self.say = say

    def __call__(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        sent = [(name.lower(), value) for name, value in request.headers.items()]
        headers = [pair for pair in sent if pair[0] not in MESH_OWN]
        began = time.perf_counter()
        try:
            with httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False) as client:
                answer = client.request(
                    request.command,
                    self.url + request.path,
                    headers=[*headers, ("host", SERVICE)],
                    content=body or None,
                )
        except httpx.HTTPError as error:
            self.say(f"{request.command} {request.path}  ✗ the mesh does not answer: {error}")
            return 502, [], b""
        milliseconds = (time.perf_counter() - began) * 1000
        self.say(f"{request.command} {request.path:24} {told(headers, request.path, answer)}  {milliseconds:.1f} ms")
        kept = [(name, value) for name, value in answer.headers.multi_items() if name not in MESH_OWN]
        return answer.status_code, kept, answer.content


def told(sent: list[tuple[str, str]], target: str, answer: httpx.Response) -> str:
    """What the plugin did: changes to the request, or the answer in place of the service's."""
    reason = answer.headers.get("plait-reason")
    try:
        reached = answer.json() if reason is None else None
    except ValueError:
        reached = None
    if not isinstance(reached, dict) or "target" not in reached:
        first = answer.text.strip().splitlines()[:1]
        return f"✗ {answer.status_code} {reason or ''} {first[0] if first else ''}".rstrip()
    got = [(name, value) for name, value in reached["headers"] if name not in MESH_OWN]
    changes = [f"+{name}: {value}" for name, value in got if (name, value) not in sent and not _is_clients(name)]
    changes += [f"-{name}" for name, _ in sent if name not in {other for other, _ in got}]
    changes += [f"→ {reached['target']}"] if reached["target"] != target else []
    return " ".join(changes) or "unchanged"


def _is_clients(name: str) -> bool:
    """What the door's own client adds where the caller sent none."""
    return name in ("accept", "user-agent")
