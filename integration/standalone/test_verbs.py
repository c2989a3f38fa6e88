"""What the command tells of a running mesh, and how fast."""

import json
import os
import time
from typing import Any

import pytest
from calling import Load, ask
from shop import Shop, until

# With the half second for which stat and edges measure, a verb answers within a second on a machine that is idle.
PROCESSOR_SECONDS = 0.5


def told(shop: Shop, *words: str) -> Any:
    """A verb's facts, and a check of its processor time: the machine may be busy with other things."""
    before = os.times()
    facts = shop.ask(*words)
    after = os.times()
    cost = after.children_user + after.children_system - before.children_user - before.children_system
    assert cost < PROCESSOR_SECONDS, words
    return facts


def test_status_tells_generations_certificates_and_objects(shop: Shop) -> None:
    facts = told(shop, "status")
    assert len(facts["workloads"]) == len(facts["sidecars"]) == 6
    assert all(proxy["current"] for proxy in facts["proxies"])
    assert {one["status"] for one in facts["objects"]} == {"Accepted"}
    now = time.time()
    for sidecar in facts["sidecars"]:
        (workload,) = sidecar["config"]["workloads"]
        assert now < workload["certificate"]["renew_at_unix"] < workload["certificate"]["not_after_unix"]


def test_stat_and_edges_tell_what_callers_got_and_who_they_are(shop: Shop) -> None:
    with Load(shop.ports["web_out"], "http://stock/"):
        rows = {row["name"]: row for row in told(shop, "stat")["rows"]}
        edges = {(edge["from"], edge["to"]): edge for edge in told(shop, "edges")["edges"]}
    assert rows["shop/stock"]["success_ratio"] == 1.0
    assert rows["shop/stock"]["requests_per_second"] > 10
    assert 0 < rows["shop/stock"]["p50_seconds"] <= rows["shop/stock"]["p99_seconds"] < 1
    edge = next(found for (source, _), found in edges.items() if source == "shop/web")
    assert (edge["identity"], edge["encrypted"]) == ("spiffe://shop.example/ns/shop/sa/web", True)


def test_the_access_log_of_each_side_tells_who_called(shop: Shop) -> None:
    path = f"/logged-{time.time_ns()}"
    assert ask(shop.ports["web_out"], f"http://stock{path}").status == 200

    def lines() -> dict[str, Any]:
        logs = shop.state.glob("proxies/*/access.log")
        found = [json.loads(line) for log in logs for line in log.read_text().splitlines() if path in line]
        return {line["direction"]: line for line in found}

    until(lambda: len(lines()) == 2, "both sidecars have written a line")
    outbound, inbound = lines()["outbound"], lines()["inbound"]
    assert (outbound["source"], outbound["peer"], outbound["tls"]) == ("shop/web-1", None, False)
    identity = "spiffe://shop.example/ns/shop/sa/web"
    assert (inbound["source"], inbound["peer"], inbound["tls"]) == ("shop/web", identity, True)
    assert outbound["trace_id"] == inbound["trace_id"]


@pytest.mark.parametrize(
    ("words", "direction", "source"),
    [(("--to", "stock"), "outbound", "shop/web-1"), (("--inbound",), "inbound", "shop/web")],
)
def test_tap_shows_each_request_as_it_ends(shop: Shop, words: tuple[str, ...], direction: str, source: str) -> None:
    path = f"/tapped-{time.time_ns()}"
    tap = ("tap", "--from", "web", "--path", path, "--status", "2xx", "--count", "1", *words)
    with Load(shop.ports["web_out"], f"http://stock{path}"), Load(shop.ports["web_out"], "http://stock/other"):
        line = shop.ask(*tap)
        people = shop.plait(*tap, "--state", str(shop.state))
    assert (line["direction"], line["source"], line["path"], line["status"]) == (direction, source, path, 200)
    assert people.returncode == 0, people.stderr
    assert f"GET {path}  200" in people.stdout


def test_explain_tells_the_same_with_and_without_the_mesh(shop: Shop) -> None:
    words = ("explain", "GET", "http://stock/x", "--from", "web-1")
    live = told(shop, *words)
    offline = shop.plait(*words, "--dir", str(shop.yaml), "-o", "json")
    assert offline.returncode == 0, offline.stderr
    assert live["destination"]["service"] == "shop/stock"
    assert {place["workload"] for place in live["endpoints"]} == {"shop/stock-1", "shop/stock-2"}
    assert live["policy"]["allowed"] is True
    assert ask(shop.ports["web_out"], "http://stock/x").status == 200


@pytest.mark.parametrize(
    "words", [("status",), ("stat",), ("edges",), ("explain", "GET", "http://stock/", "-f", "web")]
)
def test_a_pipe_gets_no_colour_and_lines_that_fit(shop: Shop, words: tuple[str, ...]) -> None:
    with Load(shop.ports["web_out"], "http://stock/"):
        done = shop.plait(*words, "--state", str(shop.state))
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 120 for line in done.stdout.splitlines()), done.stdout


def test_a_join_token_is_for_one_workload(shop: Shop) -> None:
    token = told(shop, "join-token", "create", "--workload", "web-1")
    assert token["token"].startswith("plait1.")
    missing = shop.plait("join-token", "create", "--workload", "nobody", "--state", str(shop.state))
    assert (missing.returncode, "there are: shop/" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("GET", "stock"), 2, "write http://host[:port]/path"),
        (("G@T", "http://stock/"), 2, "is no method"),
        (("GET", "http://stock/../x"), 2, "climbs above the root"),
        (("GET", "http://stock/", "-H", "x"), 2, "has no colon"),
    ],
)
def test_a_question_that_is_none_is_told_as_wrong_usage(
    shop: Shop, words: tuple[str, ...], code: int, said: str
) -> None:
    done = shop.plait("explain", *words, "--from", "web", "--state", str(shop.state))
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
