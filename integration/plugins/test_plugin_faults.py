"""What a fault of a plugin costs: those who call through it, and those who call past it through the same sidecars.

`./dev nox -s faults -- integration/plugins -s` prints the table. Nothing is asserted of how fast: no request past the
plugin is lost or sees it, each that it breaks gets what its policy says, and it serves again.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from plugged import Mesh, until
from steady import Seen, Steady

pytestmark = pytest.mark.fault
WORD = "served"
PAST = 200
"""Requests past the plugin before a fault, and after it."""
FAULTS = 3
"""In a row: fewer than take a plugin out."""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules: [{matches: [{path: {value: %s}}], backendRefs: [{name: stock, port: 80}]}]
"""
REFUSALS = {(500, "plugin_error"), (504, "plugin_timeout"), (503, "plugin_unavailable")}
"""What may become of a call while a plugin with Closed policies is broken."""


class Times(NamedTuple):
    """When a fault began, when it was made for the last time or repaired, and when the plugin served again."""

    broke: float
    last: float
    well: float


@dataclass
class Report:
    """The rows of the table."""

    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, past: Steady, through: Steady, times: Times, answered: str) -> None:
        """A row."""
        broke, last, well = times
        calm = past.percentile(0.99, lambda one: not broke <= one.due < well)
        during = past.percentile(0.99, lambda one: broke <= one.due < well)
        ratio = f"{during / calm:.1f}x" if calm and during else "–"
        calls = [one for one in through.seen if one.due >= broke]
        served, refused = sum(map(passed, calls)), sum(map(refusal, calls))
        self.rows.append(
            f"| {fault} | {len(past.wrong(untouched))} of {len(past.seen)} | {calm:.0f} → {during:.0f}, {ratio} "
            f"| {answered} | {served} served, {refused} refused, {len(calls) - served - refused} else "
            f"| {well - last:.2f} s |"
        )


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    found = Report()
    yield found
    print("\n| fault | past it: lost | p99 ms | what it broke | through it meanwhile | well again after |")
    print("|---|---|---|---|---|---|")
    print("\n".join(found.rows))


@pytest.fixture(scope="module")
def split(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh with a route past plugins and one through them."""
    mesh.write("plain.yaml", ROUTE % ("plain", "/plain"))
    mesh.write("plugged.yaml", ROUTE % ("plugged", "/"))
    yield mesh
    for name in ("plain", "plugged"):
        (mesh.yaml / f"{name}.yaml").unlink()


def attach(mesh: Mesh, plugin: str = "fails", **config: Any) -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "plugged"}
    mesh.attach(
        "p",
        plugin=plugin,
        direction="Outbound",
        targetRefs=[target],
        config={"word": WORD, **config} if plugin == "fails" else {},
        limits={"deadline": "500ms", "memory": "64Mi"},
    )


def passed(one: Seen) -> bool:
    return one.status == 200 and one.answered == WORD


def refusal(one: Seen) -> bool:
    return (one.status, one.reason) in REFUSALS


def untouched(one: Seen) -> bool:
    return one.status == 200 and not one.answered


@contextmanager
def loads(mesh: Mesh) -> Iterator[tuple[Steady, Steady]]:
    """Calls past the plugin and through it; afterwards every one must be as it should."""
    port = mesh.ports["web_out"]
    with Steady(port, "/plain", connections=4) as past, Steady(port, "/", connections=1) as through:
        until(lambda: len(past.seen) >= PAST, "the load is under way")
        yield past, through
        seen = len(past.seen)
        until(lambda: len(past.seen) >= seen + PAST, "the load goes on")
    assert past.wrong(untouched) == []
    assert through.wrong(lambda one: passed(one) or refusal(one)) == []


def served(through: Steady, since: float) -> float:
    """Waits until a call that was due after a moment is served; when that was."""
    found: list[float] = []

    def one() -> bool:
        found.extend(each.ended for each in list(through.seen) if each.due >= since and passed(each))
        return bool(found)

    until(one, "the plugin serves again")
    return found[0]


@pytest.mark.parametrize(
    ("act", "status", "reason"),
    [
        ("raise", 500, "plugin_error"),
        ("junk", 500, "plugin_error"),
        ("loop", 504, "plugin_timeout"),
        ("hang", 504, "plugin_timeout"),
        ("crash", 503, "plugin_unavailable"),
        ("leak", 500, "plugin_error"),
        ("fork", 500, "plugin_error"),
    ],
)
def test_a_call_that_breaks_a_plugin(split: Mesh, report: Report, act: str, status: int, reason: str) -> None:
    attach(split)
    until(lambda: split.call().headers.get("x-answered") == WORD, "the plugin is live")
    with loads(split) as (past, through):
        broke = time.monotonic()
        answers = [split.call(do=act) for _ in range(FAULTS - 1)]
        last = time.monotonic()
        answers.append(split.call(do=act))
        times = Times(broke, last, served(through, time.monotonic()))
    assert [(answer.status_code, answer.headers.get("plait-reason")) for answer in answers] == [
        (status, reason)
    ] * FAULTS
    report.add(act, past, through, times, f"{FAULTS} x {status} {reason}")
    split.detach("p")


def test_a_zygote_that_is_killed(split: Mesh, report: Report) -> None:
    attach(split)
    until(lambda: split.call().headers.get("x-answered") == WORD, "the plugin is live")
    (zygote,) = zygotes(split)
    with loads(split) as (past, through):
        broke = time.monotonic()
        os.kill(zygote, signal.SIGKILL)
        until(lambda: (found := zygotes(split)) and found != [zygote], "there is another zygote")
        times = Times(broke, broke, served(through, time.monotonic()))
    report.add("killed zygote", past, through, times, "–")
    split.detach("p")


def test_a_plugin_that_is_slow_to_start(split: Mesh, report: Report) -> None:
    begun = time.monotonic()
    attach(split, load_seconds=6)
    until(lambda: split.call().status_code == 503, "the plugin is waited for no longer")
    with loads(split) as (past, through):
        times = Times(begun, begun, served(through, begun))
    report.add("slow start", past, through, times, "503 plugin_unavailable")
    split.detach("p")


def test_a_plugin_that_cannot_be_imported(split: Mesh, report: Report) -> None:
    attach(split, plugin="unimportable")
    until(lambda: split.status("p")[0] == "Refused", "the failure is told on the object")
    assert "No module named 'a_library_that_nobody_has'" in split.status("p")[1]
    load_failed(split, report, "import error", lambda: attach(split))


def test_a_disk_that_is_full_for_a_wheel(split: Mesh, report: Report) -> None:
    folder = split.state / "proxies" / "shop.web-1" / "state" / "plugins"
    folder.mkdir(exist_ok=True)
    with full_disk(folder):
        attach(split)
        until(lambda: split.status("p")[0] == "Refused", "the failure is told on the object")
        assert "No space left on device" in split.status("p")[1]
        assert split.call().headers.get("plait-reason") == "plugin_unavailable"
    # What failed is tried again with the next change.
    load_failed(split, report, "full disk", lambda: attach(split, load_seconds=0.001))


def load_failed(mesh: Mesh, report: Report, fault: str, repair: Callable[[], None]) -> None:
    """Calls while there is no version at all, and after it was repaired."""
    with loads(mesh) as (past, through):
        until(lambda: through.seen, "a call was answered")
        assert not any(map(passed, through.seen))
        broke = time.monotonic()
        repair()
        times = Times(broke, broke, served(through, broke))
    report.add(fault, past, through, times, "503 plugin_unavailable")
    mesh.detach("p")


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A folder with room for one page."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "plait-full", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def zygotes(mesh: Mesh) -> list[int]:
    """Processes that the caller's sidecar started to fork workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            line, above = ((one / "cmdline").read_bytes() for one in (folder, Path("/proc") / parent))
        except OSError:
            continue
        if b"plait_sdk.host" in line and f"{mesh.state}/proxies/shop.web-1/".encode() in above:
            found.append(int(folder.name))
    return found
