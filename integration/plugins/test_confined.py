"""What a plugin cannot do, tried from within its worker on a running mesh."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugged import Mesh, until

DENIED = "PermissionError"


@pytest.fixture(scope="module")
def reaching(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh with a plugin that tries what it is told to."""
    mesh.attach("p", plugin="reaches", limits={"deadline": "10s"})
    until(lambda: mesh.call().text == "one", "the plugin is live")
    yield mesh
    (mesh.yaml / "p.yaml").unlink()
    until(lambda: mesh.call().text.startswith("{"), "the plugin is gone")


def tried(mesh: Mesh, do: str, place: object) -> str:
    answer = mesh.call(do=do, headers={"x-place": str(place)})
    assert answer.status_code == 200, answer.text
    return answer.text


def proxy(mesh: Mesh) -> int:
    """The process of the sidecar that the plugin belongs to."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0") if path.exists() else []
        if f"{mesh.state}/proxies/shop.stock-1/state".encode() in words and b"--admin" in words:
            return int(path.parent.name)
    raise AssertionError("no such sidecar runs")


def test_it_reads_no_keys(reaching: Mesh) -> None:
    state = reaching.state / "proxies" / "shop.stock-1" / "state"
    keys = [*state.glob("identity/*.pem"), *reaching.state.glob("**/*.key")]
    assert keys
    for place in keys:
        assert place.read_bytes()
        assert tried(reaching, "read", place) == DENIED
    assert tried(reaching, "list", state) == DENIED
    assert tried(reaching, "read", reaching.yaml / "mesh.yaml") == DENIED


@pytest.mark.parametrize("file", ["mem", "environ", "maps", "fd/0"])
def test_it_reads_nothing_of_its_proxy(reaching: Mesh, file: str) -> None:
    assert tried(reaching, "read", f"/proc/{proxy(reaching)}/{file}") == DENIED


def test_it_reads_and_stops_no_worker_of_another_group(reaching: Mesh) -> None:
    reaching.attach("q", plugin="reaches", trustGroup="others", order={"before": ["p"]}, config={"word": "two"})
    until(lambda: reaching.call().text == "two", "the other group is live")
    other = int(reaching.call(do="pid").text)
    (reaching.yaml / "q.yaml").unlink()
    until(lambda: reaching.call().text == "one", "the first is asked again")
    reaching.attach("q", plugin="reaches", trustGroup="others", order={"after": ["p"]}, config={"word": "two"})
    mine = int(reaching.call(do="pid").text)
    assert mine != other
    # One that surely runs: the worker of the other group, or in its place the test itself.
    for pid in {other, threading.main_thread().native_id}:
        assert tried(reaching, "read", f"/proc/{pid}/mem") in (DENIED, "FileNotFoundError")
        assert tried(reaching, "kill", pid) in (DENIED, "ProcessLookupError")
    (reaching.yaml / "q.yaml").unlink()


def test_it_sees_no_header_that_it_did_not_declare(reaching: Mesh) -> None:
    secret = {"cookie": "session=1", "authorization": "Bearer x"}
    assert reaching.call(do="see", headers=secret).text == "x-do"
    asked = reaching.call(do="peek", headers={**secret, "x-place": "cookie"})
    assert (asked.status_code, asked.headers["plait-reason"]) == (500, "plugin_error")
    assert "session" not in asked.text


def test_it_opens_no_socket_that_it_did_not_declare(reaching: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert tried(reaching, "connect", f"127.0.0.1:{server.getsockname()[1]}") == DENIED
    assert tried(reaching, "unix", reaching.state / "sockets" / "proxy-shop.stock-1.sock") == DENIED


def test_it_writes_into_its_scratch_folder_alone(reaching: Mesh, tmp_path: Path) -> None:
    assert tried(reaching, "scratch", "a note") == "done"
    for place in (tmp_path / "x", Path("/tmp/plait-plugin-was-here"), reaching.wheels / "x", Path("/etc/x")):
        assert tried(reaching, "write", place) == DENIED
        assert not place.exists()


def test_it_starts_no_process_and_stops_none(reaching: Mesh) -> None:
    assert tried(reaching, "run", "/bin/true") == DENIED
    assert tried(reaching, "kill", proxy(reaching)) == DENIED


def test_an_answer_that_comes_late_meets_no_other_request(mesh: Mesh) -> None:
    alone = {"trustGroup": "late", "order": {"before": ["p"]}}
    mesh.attach("l", plugin="reaches", limits={"deadline": "200ms"}, config={"word": "mine"}, **alone)
    until(lambda: mesh.call().text == "mine", "the plugin is live")
    late = mesh.call(do="late")
    assert (late.status_code, late.headers["plait-reason"]) == (504, "plugin_timeout")
    until(lambda: mesh.call().text == "mine", "it answers again")
    answers = [mesh.call() for _ in range(50)]
    assert {answer.text for answer in answers if answer.status_code == 200} == {"mine"}
    assert 418 not in {answer.status_code for answer in answers}
    (mesh.yaml / "l.yaml").unlink()
    until(lambda: mesh.call().text != "mine", "the plugin is gone")
