"""Probes of kubelet that a sidecar asks in its place, of servers that others wrote: gRPC health and HTTPS."""

import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from mesh import free_port
from plait_cli.binaries import locate
from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.credentials import new_key
from plait_controlplane.identity.join_token import JoinToken, issue

PATIENCE_SECONDS = 60.0
NOBODY = "127.0.0.1:1"
LIFE = timedelta(hours=1)
NO_PASSWORD = serialization.NoEncryption()


@pytest.fixture
def health_port() -> Iterator[int]:
    """A server whose parts differ in health."""
    server = grpc.server(ThreadPoolExecutor(4))
    parts = health.HealthServicer()
    parts.set("", health_pb2.HealthCheckResponse.SERVING)
    parts.set("ill", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(parts, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.fixture
def https_port(tmp_path: Path) -> Iterator[int]:
    """A server that nobody vouches for: kubelet checks no certificate either."""
    key = new_key()
    leaf = Authority(tmp_path / "unknown").server_leaf(["localhost"], key.public_key(), LIFE)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, NO_PASSWORD)
    file = tmp_path / "leaf.pem"
    file.write_bytes(pem + leaf.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Well, but for one path."""

    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/ill" else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_a_sidecar_asks_for_kubelet(tmp_path: Path, health_port: int, https_port: int) -> None:
    def of_grpc(service: str, port: int = health_port) -> dict[str, object]:
        return {"grpc": {"port": port, "service": service}, "timeoutSeconds": 30}

    def of_https(path: str, port: int = https_port) -> dict[str, object]:
        return {"http": {"port": port, "path": path, "tls": True}, "timeoutSeconds": 30}

    cases = {
        "well": (of_grpc(""), 200, "well"),
        "ill": (of_grpc("ill"), 503, "its health is 2"),
        "unknown": (of_grpc("unknown"), 503, ""),
        "no-grpc": (of_grpc("", https_port), 503, ""),
        "https": (of_https("/"), 200, "well"),
        "https-ill": (of_https("/ill"), 503, "it answers 500"),
        "no-https": (of_https("/", health_port), 503, ""),
    }
    table = {f"/probe/app/{name}": probe for name, (probe, _, _) in cases.items()}
    port, token = free_port(set()), tmp_path / "token"
    token.write_text(issue(Authority(tmp_path / "ca"), JoinToken("shop/web-1", "web", "shop.example", 2**32), NOBODY))
    options = {"join": NOBODY, "token-file": token, "state": tmp_path / "state", "admin": tmp_path / "admin"}
    options |= {"metrics-port": port, "probes": json.dumps(table)}
    command = [locate("plait-proxy"), "run", *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
        try:
            for name, (_, status, words) in cases.items():
                found, said = get(port, f"/probe/app/{name}")
                assert (found, words in said) == (status, True), (name, found, said)
        finally:
            proxy.kill()


def get(port: int, path: str) -> tuple[int, str]:
    """As kubelet, once the port is open."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the port never opened"
            time.sleep(0.02)
        finally:
            connection.close()
