"""What authors test with: the fixtures of pytest, golden files, recorded traffic, splits of bodies, injected faults."""

import json
import subprocess
import sys
from pathlib import Path

import plait_sdk as plait
import pytest
from hypothesis import given
from plait_sdk.markers import BodyMode
from plait_sdk.testing import Failure, Harness
from plait_sdk.testing.splitting import splits
from plait_sdk.testing.traffic import replay

BODY = b"one <b>two</b> three"


class Upper(plait.Plugin[plait.PluginConfig]):
    """Needs no more than one piece at a time."""

    reads = plait.Reads(body=plait.stream(), path=True)
    writes = plait.Writes(body=True, headers={"x-seen"})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict | None:
        request.headers["x-seen"] = request.path
        return plait.Deny("not here") if request.path == "/deny" else None

    @plait.hookimpl
    async def on_request_body(self, body: plait.Body) -> None:
        body.replace(body.data.upper())


@given(chunks=splits(BODY))
def test_a_split_is_the_whole_body_in_pieces(chunks: list[bytes]) -> None:
    assert b"".join(chunks) == BODY
    with Harness(Upper) as harness:
        assert harness.request("POST", "/", body=chunks).sent_body == BODY.upper()


def test_splits_reach_every_place() -> None:
    seen: set[int] = set()

    @given(chunks=splits(b"abcd"))
    def look(chunks: list[bytes]) -> None:
        seen.add(len(chunks[0]))

    look()
    assert seen == {0, 1, 2, 3, 4}


def test_a_body_is_peeked_at_or_buffered_up_to_its_limit() -> None:
    seen: list[bytes] = []

    def reading(mode: BodyMode) -> type[plait.Plugin[plait.PluginConfig]]:
        class Looks(plait.Plugin[plait.PluginConfig]):
            reads = plait.Reads(body=mode)

            @plait.hookimpl
            def on_request_body(self, body: plait.Body) -> None:
                seen.append(body.data)

        return Looks

    with Harness(reading(plait.peek(3))) as harness:
        assert harness.request("POST", body=[b"ab", b"cdef"]).sent_body == b"abcdef"
    with Harness(reading(plait.buffer(6))) as harness:
        assert harness.request("POST", body=[b"ab", b"cdef"]).sent_body == b"abcdef"
        assert harness.request("POST", body=[b"ab", b"cdefg"]).status == 413
    assert seen == [b"abc", b"abcdef"]


@pytest.mark.parametrize(
    ("kind", "options", "ends"),
    [
        ("timeout", {}, "deadline"),
        ("timeout", {"on_error": "open"}, "deadline"),
        ("timeout", {"on_timeout": "open"}, None),
        ("crash", {}, "Crash: the worker died"),
        ("crash", {"on_timeout": "open"}, "Crash: the worker died"),
        ("crash", {"on_error": "open"}, None),
    ],
)
@pytest.mark.parametrize("hook", ["on_request", "on_request_body"])
def test_an_injected_fault_is_answered_by_its_policy(
    hook: str, kind: str, options: dict[str, str], ends: str | None
) -> None:
    with Harness(Upper, **options) as harness:  # type: ignore[arg-type]
        harness.fault(hook, kind)  # type: ignore[arg-type]
        exchange = harness.request("POST", "/", body=b"a")
        after = harness.request("POST", "/", body=b"a")
    if ends is None:
        assert (exchange.verdict, len(exchange.errors)) == (plait.Continue(), 1)
        assert exchange.sent_body == (b"a" if hook == "on_request_body" else b"A")
    else:
        assert isinstance(exchange.verdict, Failure)
        assert (exchange.verdict.text, exchange.status) == (ends, 504 if kind == "timeout" else 503)
        assert exchange.response.body == (b"plugin_timeout" if kind == "timeout" else b"plugin_unavailable")
    assert (after.verdict, after.sent_body) == (plait.Continue(), b"A")


def test_a_fault_of_a_hook_that_is_not_there_is_refused() -> None:
    with Harness(Upper) as harness, pytest.raises(plait.PluginError, match="has no hook on_response"):
        harness.fault("on_response", "crash")


def test_recorded_traffic_is_replayed_in_order(tmp_path: Path) -> None:
    lines = [
        {"target": "/a?q=1", "headers": [["X-A", "1"], ["x-a", "2"]]},
        {"method": "POST", "target": "/b", "body": ["x", {"base64": "eQ=="}], "headers": {"x-a": "3"}},
        {"target": "/deny", "identity": None},
    ]
    (tmp_path / "traffic.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    with Harness(Upper) as harness:
        exchanges = list(replay(harness, tmp_path / "traffic.jsonl"))
    assert [(each.method, each.path, each.status) for each in exchanges] == [
        ("GET", "/a", 200),
        ("POST", "/b", 200),
        ("GET", "/deny", 403),
    ]
    assert (exchanges[0].sent.all("x-a"), exchanges[1].sent_body) == (["1", "2"], b"XY")


@pytest.mark.parametrize(
    ("line", "told"), [("{", "traffic.jsonl:1: no JSON"), ('{"target": "/", "bdy": ""}', 'did you mean "body"?')]
)
def test_a_wrong_recording_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "traffic.jsonl").write_text(line)
    with Harness(Upper) as harness, pytest.raises(plait.PluginError) as refused:
        list(replay(harness, tmp_path / "traffic.jsonl"))
    assert told in str(refused.value)


AUTHOR = """
import plait_sdk

class Tag(plait_sdk.Plugin[plait_sdk.PluginConfig]):
    reads = plait_sdk.Reads(path=True)
    writes = plait_sdk.Writes(headers={"x-tag"})

    @plait_sdk.hookimpl
    def on_request(self, request):
        request.headers["x-tag"] = request.path

def test_tag(plait, golden):
    exchange = plait(Tag).request("GET", "/acme")
    assert exchange.sent["x-tag"] == "/acme"
    golden(exchange)
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_fixtures_work_in_an_authors_folder(tmp_path: Path) -> None:
    (tmp_path / "test_tag.py").write_text(AUTHOR)
    missing = run_pytest(tmp_path)
    assert (missing.returncode, "write it with --plait-update" in missing.stdout) == (1, True), missing.stdout
    assert run_pytest(tmp_path, "--plait-update").returncode == 0
    assert json.loads((tmp_path / "golden" / "test_tag.json").read_text()) == [
        {
            "verdict": "Continue",
            "by": "",
            "effects": [["set_request_header", "x-tag", "/acme"]],
            "response": {"status": 200, "headers": []},
        }
    ]
    assert run_pytest(tmp_path).returncode == 0
    (tmp_path / "test_tag.py").write_text(
        AUTHOR.replace("= request.path\n", '= "other"\n').replace('== "/acme"', '== "other"')
    )
    changed = run_pytest(tmp_path)
    assert (changed.returncode, "says otherwise" in changed.stdout) == (1, True), changed.stdout


@pytest.mark.parametrize("place", ["proxy", "kind"])
def test_a_place_that_does_not_exist_is_refused(tmp_path: Path, place: str) -> None:
    refused = run_pytest(tmp_path, f"--plait={place}")
    assert (refused.returncode, f"--plait={place}: a harness on" in refused.stderr) == (4, True), refused.stderr
