"""Stands in for `plait-controlplane` and `plait-proxy`: the answers that the command reads, and nothing behind them.

Run as `fake_parts.py plait-controlplane serve ...` or `fake_parts.py plait-proxy run ...`. Workloads are the lines
"namespace/name port" of the file `workloads.yaml` in the source folder, so that a test adds and removes them.
"""

import json
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = answers(urlsplit(self.path).path)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = answer
    do_POST = answer


def workloads() -> list[dict[str, Any]]:
    found = []
    for line in (Path(option("--source")) / "workloads.yaml").read_text().splitlines():
        name, port = line.split()
        namespace, _, short = name.partition("/")
        ports = [{"name": "http", "port": int(port)}]
        found.append(
            {"namespace": namespace, "name": short, "service_account": short, "address": "127.0.0.1", "ports": ports}
            | {"inbound": f"127.0.0.1:1{port}", "outbound": f"127.0.0.1:2{port}", "binds": []}
        )
    return found


def control_plane(path: str) -> object:
    names = [f"{entry['namespace']}/{entry['name']}" for entry in workloads()]
    sockets = Path(option("--sockets"))
    joined = [name for name in names if (sockets / f"proxy-{name.replace('/', '.')}.sock").exists()]
    root = {"not_after_unix": time.time() + 3649.5 * 86400}
    return {
        "/v1/mesh": {
            "name": "m",
            "generation": 3,
            "started_unix": time.time() - 725,
            "changed_unix": time.time(),
            "change": "first read",
        }
        | {"trust_domain": "shop.example", "discovery": "127.0.0.1:1", "identity": "127.0.0.1:2", "root": root},
        "/v1/objects": [],
        "/v1/hooks": [],
        "/v1/workloads": workloads(),
        "/v1/proxies": [{"proxy": name, "workloads": [name], "generation": 3, "current": True} for name in joined],
        "/v1/join-tokens": {"token": "plait1.a.b", "discovery": "127.0.0.1:1"},
    }[path]


def proxy(path: str) -> object:
    name = Path(option("--admin")).stem.removeprefix("proxy-").replace(".", "/", 1)
    certificate = {"not_after_unix": time.time() + 86400, "renew_at_unix": time.time() + 42750, "issuer": "root"}
    labels = f'direction="outbound",source="{name}",destination="shop/reviews",route=""'
    number = time.monotonic() * 100
    return {
        "/ready": "ready",
        "/config": {"generation": 3, "workloads": [{"name": name, "certificate": certificate}], "source": "live"},
        "/metrics": f'plait_requests_total{{{labels},code_class="2xx"}} {number}\n'
        f'plait_request_duration_seconds_bucket{{{labels},le="0.01"}} {number}\n'
        f'plait_request_duration_seconds_bucket{{{labels},le="+Inf"}} {number}\n',
    }[path]


def main() -> None:
    part = sys.argv[1]
    socket = Path(option("--sockets")) / "api.sock" if part == "plait-controlplane" else Path(option("--admin"))
    with Server(str(socket), Handler) as server:
        server.serve_forever()


def answers(path: str) -> object:
    return control_plane(path) if sys.argv[1] == "plait-controlplane" else proxy(path)


if __name__ == "__main__":
    main()
