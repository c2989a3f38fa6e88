"""How an application reaches others through its sidecar: as its HTTP proxy, by Host header, by a bound port."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from calling import Answer, ask, say, tunnel
from shop import Shop
from websockets.sync.client import connect

NAMES = ("stock", "stock.shop", "stock.shop.svc.cluster.local", "stock:80", "STOCK.Shop")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_each_form_reaches_the_service_as_proxy_and_by_host(shop: Shop, name: str) -> None:
    port = shop.ports["web_out"]
    for answer in (ask(port, f"http://{name}/things?x=1"), ask(port, "/things?x=1", {"host": name})):
        assert answer.status == 200, answer.body
        received = answer.json()
        assert received["name"] in ("stock-1", "stock-2")
        assert (received["path"], received["headers"]["host"]) == ("/things?x=1", name)


@pytest.mark.parametrize("name", NAMES)
def test_connect_reaches_the_service_through_a_tunnel(shop: Shop, name: str) -> None:
    authority = name if ":" in name else f"{name}:80"
    status, connection = tunnel(shop.ports["web_out"], authority)
    with connection:
        assert status == 200
        connection.sendall(b"GET /inside HTTP/1.1\r\nhost: stock\r\nconnection: close\r\n\r\n")
        with connection.makefile("rb") as reader:
            head, _, body = reader.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["path"] == "/inside"


def test_a_bound_port_is_its_destination(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.ports["ledger_bind"]), 5) as connection:
        assert [say(connection, line) for line in ("one", "two")] == ["ledger one", "ledger two"]
    answer = ask(shop.ports["stock_bind"], "/bound", {"host": "whatever.example"})
    assert (answer.status, answer.json()["path"]) == (200, "/bound")


def test_connect_reaches_plain_tcp(shop: Shop) -> None:
    status, connection = tunnel(shop.ports["web_out"], "ledger:7000")
    with connection:
        assert status == 200
        assert say(connection, "hello") == "ledger hello"


def test_bodies_methods_and_fields_arrive(shop: Shop) -> None:
    text = "x" * 100_000
    answer = ask(shop.ports["web_out"], "http://stock/", {"x-thing": "a b"}, "POST", text)
    received = answer.json()
    assert (received["method"], received["body"], received["headers"]["x-thing"]) == ("POST", text, "a b")
    assert ask(shop.ports["web_out"], "http://stock/", method="HEAD").body == ""
    assert ask(shop.ports["web_out"], "http://stock/stream/5").body == "0\n1\n2\n3\n4\n"


def test_fields_of_the_mesh_never_come_from_applications_and_never_reach_them(shop: Shop) -> None:
    forged = {"plait-port": "1", "plait-reject": "x", "x-mine": "1"}
    answer = ask(shop.ports["web_out"], "http://stock/", forged)
    assert [name for name in answer.json()["headers"] if name.startswith("plait-")] == []
    assert [name for name in answer.headers if name.startswith("plait-")] == []
    assert answer.json()["headers"]["x-mine"] == "1"
    assert answer.json()["headers"]["traceparent"].startswith("00-")


@pytest.mark.parametrize("way", ["proxy", "host", "bind"])
def test_a_websocket_passes_both_sidecars(shop: Shop, way: str) -> None:
    port = shop.ports["chat_bind" if way == "bind" else "web_out"]
    place: dict[str, Any] = (
        {"proxy": f"http://127.0.0.1:{port}"} if way == "proxy" else {"address": ("127.0.0.1", port)}
    )
    with connect("ws://chat/", **{"proxy": None, **place}) as connection:
        for message in ("hello", b"\x00\xff" * 40_000, "", "goodbye"):
            connection.send(message)
            assert connection.recv(timeout=5) == message


@pytest.fixture(scope="module")
def outsider() -> Iterator[int]:
    """A server that the mesh does not know."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"outside")

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_what_the_mesh_does_not_know_is_passed_on(shop: Shop, outsider: int) -> None:
    answer = ask(shop.ports["web_out"], f"http://127.0.0.1:{outsider}/")
    assert (answer.status, answer.body) == (200, "outside")


def test_a_name_that_nobody_has_is_told_as_such(shop: Shop) -> None:
    answer = ask(shop.ports["web_out"], "http://stok/")
    refused(answer, 503, "upstream_unreachable")
    assert "the mesh has no Service stok" in answer.body


def refused(answer: Answer, status: int, reason: str) -> None:
    assert (answer.status, answer.headers.get("plait-reason")) == (status, reason), answer.body


def test_what_cannot_be_reached_says_why(shop: Shop) -> None:
    port = shop.ports["web_out"]
    refused(ask(port, "http://stock:81/"), 503, "port_not_found")
    refused(ask(port, "http://127.0.0.1:1/"), 503, "upstream_unreachable")
    refused(ask(port, f"http://127.0.0.1:{port}/"), 508, "loop_detected")
