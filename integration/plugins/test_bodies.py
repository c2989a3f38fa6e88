"""Bodies that plugins look at by their beginning or piece by piece, and trailers, on a real mesh."""

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from plugged import Mesh, until

LARGE = 1 << 20


class Trailing(http.server.BaseHTTPRequestHandler):
    """Answers in chunks, with two trailers behind them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers."""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("trailer", "x-sum, x-secret")
        self.end_headers()
        self.wfile.write(b"3\r\nabc\r\n0\r\nx-sum: 6\r\nx-secret: yes\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def attach(mesh: Mesh, plugin: str) -> None:
    mesh.attach("p")
    mesh.attach("b", plugin=plugin, limits={"deadline": "10s"}, order={"after": ["p"]})
    until(lambda: mesh.call().headers.get("x-answered") == "one", "the probe is live")


@pytest.fixture
def clean(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh, without plugins again afterwards."""
    yield mesh
    mesh.detach("b", "p")


def chunked(mesh: Mesh, pieces: list[bytes]) -> tuple[int, str]:
    """Sends a body in pieces; status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", mesh.ports["web_out"], timeout=60)
    connection.request("POST", "/", body=iter(pieces), headers={"host": "stock"}, encode_chunked=True)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_body_is_judged_by_its_beginning_and_goes_on_as_it_is(clean: Mesh) -> None:
    attach(clean, "peeks")
    until(lambda: clean.call(body=b"stop it").status_code == 422, "the plugin is live")
    large = b"go on" + b"x" * LARGE
    assert clean.received(body=large)["body"] == large.decode()
    status, text = chunked(clean, [b"go", b" on", b"x" * LARGE])
    assert (status, json.loads(text)["body"]) == (200, large.decode())
    for pieces in ([b"stop"], [b"s", b"t", b"op"], [b"stop", b"x" * 1000]):
        assert chunked(clean, pieces)[0] == 422
    assert clean.received()["body"] == ""


def test_an_answer_is_judged_by_its_beginning(clean: Mesh) -> None:
    clean.attach("p")
    clean.attach("b", plugin="peeks", config={"refuse": "0\n1\n"}, order={"after": ["p"]}, limits={"deadline": "10s"})
    until(lambda: clean.call("/stream/3").status_code == 422, "the plugin is live")
    assert "begins with" in clean.call("/stream/3").text
    assert clean.call("/stream/1").text == "0\n"


def test_every_piece_of_a_body_may_be_changed_both_ways(clean: Mesh) -> None:
    attach(clean, "streams")
    until(lambda: clean.call(body=b"abc").text.endswith("END"), "the plugin is live")
    status, text = chunked(clean, [b"abc", b"def" * 1000, b"x" * LARGE])
    assert (status, text[-3:]) == (200, "END")
    # The plugin wrote the answer in capitals too.
    assert json.loads(text[:-3])["BODY"] == "ABC" + "DEF" * 1000 + "X" * LARGE
    assert clean.call("/stream/5").text == "0\n1\n2\n3\n4\nEND"


def test_a_body_may_be_refused_at_any_piece(clean: Mesh) -> None:
    attach(clean, "streams")
    until(lambda: clean.call(body=b"abc").text.endswith("END"), "the plugin is live")
    for pieces in ([b"no!"], [b"abc", b"no!"], [b"x" * LARGE, b"no!"]):
        assert chunked(clean, pieces)[0] == 422
    assert clean.call(body=b"abc").status_code == 200


def test_a_body_that_is_only_read_keeps_its_length_both_ways(clean: Mesh) -> None:
    attach(clean, "reads")
    until(lambda: clean.call(body=b"abc!").status_code == 422, "the plugin is live")
    for body in (b"abc", b"x" * LARGE):
        answer = clean.call(body=body)
        fields = answer.json()["headers"]
        assert (answer.json()["body"], fields.get("content-length")) == (body.decode(), str(len(body)))
        assert "transfer-encoding" not in fields
        assert answer.headers["content-length"] == str(len(answer.content))
    assert clean.call(body=b"x" * LARGE + b"!").status_code == 422
    assert chunked(clean, [b"abc", b"def"])[0] == 200
    assert clean.received()["body"] == ""


def test_trailers_are_read_changed_and_added(mesh: Mesh) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trailing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mesh.write("trailing.yaml", TRAILING % server.server_port)
    until(lambda: trailers(mesh) == {"x-sum": "6", "x-secret": "yes"}, "trailers pass the mesh")
    mesh.attach("t", plugin="trails", targetRefs=[{"group": "", "kind": "Service", "name": "trailing"}])
    until(lambda: trailers(mesh) == {"x-seal": "x-sum=6", "x-secret": "yes"}, "the plugin changes them")
    for name in ("t", "trailing"):
        (mesh.yaml / f"{name}.yaml").unlink()
    server.shutdown()


TRAILING = """
apiVersion: v1
kind: Service
metadata: {name: trailing, namespace: shop}
spec: {selector: {app: trailing}, ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: trailing-1, namespace: shop, labels: {app: trailing}}
spec: {serviceAccount: stock, address: 127.0.0.1, ports: [{name: http, port: %d}]}
"""


def trailers(mesh: Mesh) -> dict[str, str]:
    """What follows the body of an answer; clients of Python do not tell it."""
    with socket.create_connection(("127.0.0.1", mesh.ports["web_out"]), 60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: trailing\r\nTE: trailers\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    _, _, behind = answer.partition(b"\r\n0\r\n")
    lines = [line.split(": ", 1) for line in behind.decode().splitlines() if line]
    return {name.lower(): value for name, value in lines}
