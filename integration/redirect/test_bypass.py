"""Attempts to get past the redirection, in and out. Each says whether it succeeds: what is not promised is listed."""

import uuid
from collections.abc import Iterator

import pytest
from pods import LINK_LOCAL, NODE, PROXY_UID, UNDECLARED_PORT, Pods, address, until


@pytest.fixture(scope="module")
def closed(pods: Pods) -> Iterator[Pods]:
    """Pods of a mesh that lets nothing out to where it does not know."""

    def allowed() -> bool:
        return pods.get("web-1", NODE[4], 8080)[0] == 200

    pods.write("Deny")
    until(lambda: not allowed(), "egress is denied")
    yield pods
    pods.write("Allow")
    until(allowed, "egress is allowed")


def request(path: str) -> str:
    """What an attempt says."""
    return f"GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


OUT = [
    pytest.param({}, False, id="as it comes"),
    pytest.param({"address": NODE[6]}, False, id="by IPv6"),
    pytest.param({"address": f"::ffff:{NODE[4]}"}, False, id="IPv4 written as IPv6"),
    pytest.param({"address": LINK_LOCAL}, False, id="to a link-local address"),
    pytest.param({"uid": 1001}, False, id="as another user"),
    pytest.param({"uid": 65534}, False, id="as nobody"),
    pytest.param({"source_port": 15001}, False, id="from the proxy's outbound port"),
    pytest.param({"source_port": 15006}, False, id="from the proxy's inbound port"),
    pytest.param({"source_port": 15020}, False, id="from the proxy's admin port"),
    pytest.param({"source_port": 53}, False, id="from the port of DNS"),
    pytest.param({"tls": True}, False, id="in TLS"),
    pytest.param({"port": 9000, "says": ""}, False, id="waiting for a greeting"),
    pytest.param({"port": 9000, "says": "\x00\x01\x02"}, False, id="in bytes"),
    # What is not promised, and why.
    pytest.param({"port": 9999}, True, id="a port that the operator excluded"),
    pytest.param({"uid": PROXY_UID}, True, id="as the proxy's own user, which injection gives to no other container"),
    pytest.param({"udp": True, "port": 5353, "says": "x"}, True, id="over UDP, which is not carried"),
]


@pytest.mark.parametrize(("attempt", "succeeds"), OUT)
def test_out(closed: Pods, attempt: dict[str, object], succeeds: bool) -> None:
    mark = uuid.uuid4().hex
    asked = {"address": NODE[4], "port": 8080, "says": request(mark)}
    came = closed.call("web-1", **{**asked, **attempt})
    got_there = "outside" in came.get("said", "")
    assert got_there == succeeds, came
    assert (mark in closed.heard("outside")) == (succeeds and "says" not in attempt)


IN = [
    pytest.param({}, False, id="as it comes"),
    pytest.param({"address": address("echo-1", 6)}, False, id="by IPv6"),
    pytest.param({"port": UNDECLARED_PORT}, False, id="a port nobody declared"),
    pytest.param({"port": 15006}, False, id="the proxy's inbound port"),
    pytest.param({"port": 15001}, False, id="the proxy's outbound port"),
    pytest.param({"source_port": 15006}, False, id="from the proxy's inbound port"),
    pytest.param({"source_port": 15020}, False, id="from the proxy's admin port"),
    pytest.param({"uid": PROXY_UID}, False, id="as a user with the proxy's number"),
    pytest.param({"tls": True}, False, id="in TLS of its own"),
    pytest.param({"tls": True, "port": 15006}, False, id="in TLS of its own, to the proxy"),
    pytest.param({"port": 9000, "says": ""}, False, id="waiting for a greeting"),
    pytest.param({"port": 9000, "says": "\x00\x01\x02"}, False, id="in bytes"),
    pytest.param({"udp": True, "port": 5353, "says": "x"}, True, id="over UDP, which is not carried"),
]


@pytest.mark.parametrize(("attempt", "succeeds"), IN)
def test_in_from_outside_the_mesh(pods: Pods, attempt: dict[str, object], succeeds: bool) -> None:
    mark = uuid.uuid4().hex
    asked = {
        "address": address("echo-1"),
        "port": 8080,
        "says": request(mark),
    }
    came = pods.call("node", **{**asked, **attempt})
    assert ("echo-1" in came.get("said", "")) == succeeds, came
    assert mark not in pods.heard("echo-1")


def test_the_proxys_own_doors_lead_nowhere(closed: Pods) -> None:
    for port in (15001, 15006):
        for to in ("127.0.0.1", "::1", address("web-1"), address("echo-1")):
            status, said = closed.get("web-1", to, port)
            assert status != 200, (to, port, said)
    page = closed.metrics("web-1")
    cut = [line for line in page.splitlines() if "plait_connections_cut_total" in line and "not_redirected" in line]
    assert any('direction="outbound"' in line and float(line.split()[-1]) >= 2 for line in cut), cut


def test_rules_that_were_taken_away_come_back(closed: Pods) -> None:
    assert closed.get("web-1", NODE[4], 8080)[0] != 200
    try:
        closed.within("web-1", "nft", "flush", "chain", "inet", "plait", "outbound")
        assert closed.get("web-1", NODE[4], 8080)[0] == 200, "without the rules it gets out: the rules keep it in"
    finally:
        closed.redirect("web-1")
    assert closed.get("web-1", NODE[4], 8080)[0] != 200
    before = closed.within("web-1", "nft", "list", "ruleset")
    closed.redirect("web-1")
    assert closed.within("web-1", "nft", "list", "ruleset") == before, "once more changes nothing"
    try:
        closed.redirect("web-1", "--remove")
        assert closed.within("web-1", "nft", "list", "ruleset").strip() == ""
        assert closed.get("web-1", NODE[4], 8080)[0] == 200
    finally:
        closed.redirect("web-1")
