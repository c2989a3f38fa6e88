"""A mesh on a laptop from up to down, with stand-ins for control plane and proxy: real processes, real sockets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FAKE = Path(__file__).parent / "fake_parts.py"
PATIENCE_SECONDS = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two Workloads, the fakes in place of the real parts; nothing is left running."""
    for part in ("plait-controlplane", "plait-proxy"):
        script = tmp_path / "bin" / part
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {part} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PLAIT_BIN", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "workloads.yaml").write_text("shop/web 8001\nshop/reviews 8002\n")
    yield folder
    plait("down")
    assert not running(tmp_path)


def plait(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plait_cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def running(folder: Path) -> list[str]:
    """Command lines of fakes that belong to a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(FAKE) in words and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def test_up_detached_status_stat_and_down(shop: Path) -> None:
    up = plait("up", str(shop), "--detach")
    assert up.returncode == 0, up.stderr
    assert "✓ mesh m: 2 sidecars serve generation 3" in up.stdout
    assert "! open beside the mesh, without identity or policy: 127.0.0.1:8001, 127.0.0.1:8002" in up.stdout
    assert len(running(shop.parent)) == 3
    status = plait("status", "--wait")
    assert status.returncode == 0, status.stderr
    assert "2 of 2 serve generation 3; control plane up 12 min" in status.stdout
    assert "2 valid, next renewal in 11 h 52 min; root expires in 3649 days" in status.stdout
    (row,) = json.loads(plait("stat", "--window", "0.2", "-o", "json").stdout)["rows"]
    assert (row["name"], row["success_ratio"], row["callers"]) == ("shop/reviews", 1.0, ["shop/reviews", "shop/web"])
    assert plait("join-token", "create", "--workload", "web").stdout == "plait1.a.b\n"
    second = plait("up", str(shop))
    assert (second.returncode, "is up already" in second.stderr) == (2, True)
    down = plait("down")
    assert down.returncode == 0, down.stderr
    assert plait("status").returncode == 3


def test_sidecars_come_and_go_with_their_workloads(shop: Path) -> None:
    assert plait("up", str(shop), "--detach").returncode == 0
    (shop / "workloads.yaml").write_text("shop/web 8001\nshop/ledger 8003\n")
    until(lambda: any("shop.ledger" in line for line in running(shop.parent)))
    until(lambda: not any("shop.reviews" in line for line in running(shop.parent)))
    token = shop.parent / "state" / "plait" / "shop" / "proxies" / "shop.ledger" / "token"
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("plait1.a.b", 0o600)


def test_a_killed_up_leaves_no_process(shop: Path) -> None:
    assert plait("up", str(shop), "--detach").returncode == 0
    record = json.loads((shop.parent / "state" / "plait" / "shop" / "mesh.json").read_text())
    os.kill(record["pid"], 9)
    until(lambda: not running(shop.parent))
    assert plait("status").returncode == 3


def test_a_folder_without_workloads_is_refused_at_once(shop: Path) -> None:
    (shop / "workloads.yaml").write_text("")
    up = plait("up", str(shop), "--detach")
    assert (up.returncode, "has no Workload that can be in force" in up.stderr) == (1, True), up.stderr
    assert not running(shop.parent)
    (shop / "workloads.yaml").unlink()
    empty = plait("up", str(shop))
    assert (empty.returncode, "holds no YAML" in empty.stderr) == (2, True), empty.stderr
