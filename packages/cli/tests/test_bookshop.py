"""The bookshop's processes and the capture, without a mesh."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from plait_cli.demo.capture import Capture, tcp_payload
from plait_cli.demo.stage import copy_yaml

PATIENCE_SECONDS = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def application(name: str, port: int, *words: str) -> Iterator[None]:
    """Runs one process of the bookshop until it takes connections, ends it afterwards."""
    command = [sys.executable, "-m", f"plait_cli.demo.app.{name}", str(port), *words]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{name} does not listen"
            yield
        finally:
            process.kill()


def test_reviews_tell_their_version_and_instance_on_one_connection() -> None:
    port = free_port()
    with application("reviews", port, "v2", "reviews-v2-1"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/reviews/7")
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, answer.headers["x-version"], answer.headers["x-instance"]) == (
                200,
                "v2",
                "reviews-v2-1",
            )
            if method == "GET":
                assert json.loads(body)["stars"] == 5
        connection.close()


def test_the_ledger_numbers_lines() -> None:
    port = free_port()
    with (
        application("ledger", port),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        connection.makefile("rw") as lines,
    ):
        lines.write("read 7\nread 8\n")
        lines.flush()
        assert [lines.readline(), lines.readline()] == ["1 read 7\n", "2 read 8\n"]


FRAME = bytes(12) + b"\x08\x00"
TCP = b"\x46\x69\x46\x6a" + bytes(8) + b"\x50" + bytes(7)


def ipv4(total: int, protocol: int = 6) -> bytes:
    return b"\x45\x00" + total.to_bytes(2, "big") + bytes(5) + bytes([protocol]) + bytes(10)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (FRAME + ipv4(43) + TCP + b"abc", (18025, 18026, b"abc")),
        (FRAME + ipv4(43) + TCP + b"abcPADDING", (18025, 18026, b"abc")),
        (FRAME + ipv4(0) + TCP + b"abc", (18025, 18026, b"abc")),
        (FRAME + ipv4(40) + TCP, None),
        (FRAME + ipv4(43, protocol=17) + TCP + b"abc", None),
        (bytes(14) + ipv4(43) + TCP + b"abc", None),
        (b"short", None),
    ],
)
def test_payloads_of_frames(frame: bytes, expected: tuple[int, int, bytes] | None) -> None:
    assert tcp_payload(frame) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="capturing packets needs root")
def test_a_capture_sees_what_crosses_loopback() -> None:
    port = free_port()
    try:
        capture = Capture({port})
    except PermissionError:
        pytest.skip("this root may not capture packets")
    with application("ledger", port), capture, socket.create_connection(("127.0.0.1", port), 5) as connection:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b" a secret\n" not in capture.payloads[port]:  # the kernel drops packets when loopback is very busy
            assert time.monotonic() < deadline, f"the capture saw {capture.payloads}"
            connection.sendall(b"a secret\n")
            connection.recv(100)


def test_the_yaml_is_copied_for_the_user_to_edit(tmp_path: Path) -> None:
    copy_yaml(tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "mesh.yaml",
        "policies.yaml",
        "routes.yaml",
        "services.yaml",
        "workloads.yaml",
    ]
    assert (tmp_path / "demo" / "routes.yaml").stat().st_mode & 0o200
