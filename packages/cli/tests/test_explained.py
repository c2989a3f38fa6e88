"""The picture of one decision, whole."""

from typing import Any

import pytest
from plait_cli.explained import Places, destination, lines, route

ROUTE = {"kind": "HTTPRoute", "namespace": "bookshop", "name": "reviews"}
POLICY = {"kind": "AuthorizationPolicy", "namespace": "bookshop", "name": "reviews-readers"}
PLACES: Places = {
    ("HTTPRoute", "bookshop", "reviews"): ("demo/routes.yaml", 2),
    ("AuthorizationPolicy", "bookshop", "reviews-readers"): ("demo/policies.yaml", 2),
}
ORIGINS = [{"field": "timeouts.request", "object": ROUTE, "path": "spec.rules[0].timeouts.request"}]
LIMITS = {
    "request_ms": 2000,
    "attempt_ms": None,
    "connect_ms": 250,
    "idle_ms": 3_600_000,
    "retry_attempts": 2,
    "retry_codes": [502, 503],
    "origins": ORIGINS,
}
TESTER: dict[str, Any] = {
    "generation": 42,
    "from": {"workload": "bookshop/web-1", "identity": "spiffe://bookshop.example/ns/bookshop/sa/web"},
    "egress": None,
    "destination": {"service": "bookshop/reviews", "port": 80, "protocol": "http"},
    "route": {
        "object": ROUTE,
        "rule": 0,
        "rule_name": "testers",
        "implicit": False,
        "matched": ["path is below /", "header x-tester is yes"],
    },
    "not_chosen": [{"object": ROUTE, "rule": 1, "rule_name": "everyone", "why": "more headers match in testers"}],
    "backends": [{"backend": "bookshop/reviews-v2:80", "weight": 1, "total": 1, "invalid": None}],
    "balancing": {
        "algorithm": "Maglev",
        "hash_on": "cookie sid",
        "owner": "bookshop/reviews-v2-1",
        "ejected": None,
    },
    "endpoints": [{"workload": "bookshop/reviews-v2-1", "address": "127.0.0.1:18104", "identity": None}],
    "limits": LIMITS,
    "policy": {"allowed": True, "object": POLICY, "rule": 0, "why": None, "dry_run_denials": [POLICY]},
    "answer": None,
}


def test_without_a_mesh_nobody_knows_a_port_that_was_left_open() -> None:
    endpoint = {"workload": "shop/stock-1", "address": "127.0.0.1:1", "identity": None}
    told = list(lines(TESTER | {"endpoints": [endpoint]}, PLACES, "http://reviews/"))
    assert "endpoint    127.0.0.1, a free port (shop/stock-1)" in told


TESTER_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          Service bookshop/reviews port 80, protocol http
route       HTTPRoute bookshop/reviews, rule "testers" (spec.rules[0])        demo/routes.yaml:2
              ✓ path is below /
              ✓ header x-tester is yes
            not rule "everyone" (spec.rules[1]): more headers match in testers
backend     bookshop/reviews-v2:80, weight 1 of 1
balancing   Maglev by cookie sid: bookshop/reviews-v2-1, while it is fit
endpoint    127.0.0.1:18104 (bookshop/reviews-v2-1)
limits      request 2s, attempt none, connect 250ms, idle 1h, retries 2 for 502, 503
              HTTPRoute bookshop/reviews:                                     demo/routes.yaml:2
                spec.rules[0].timeouts.request
policy      Allow by AuthorizationPolicy bookshop/reviews-readers, spec.rules[0]  demo/policies.yaml:2
              dry run: AuthorizationPolicy bookshop/reviews-readers would deny it  demo/policies.yaml:2
"""
STRANGER = TESTER | {
    "destination": None,
    "egress": "allow",
    "route": None,
    "not_chosen": [],
    "backends": [],
    "balancing": None,
    "endpoints": [],
    "limits": None,
    "policy": None,
}
STRANGER_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          http://u: not in the mesh; Mesh default, spec.egress: allow
"""
NO_MATCH = TESTER | {
    "route": None,
    "backends": [],
    "balancing": None,
    "endpoints": [],
    "limits": None,
    "policy": None,
    "answer": {"status": 404, "reason": "route_not_found"},
}
NO_MATCH_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          Service bookshop/reviews port 80, protocol http
route       no rule matches
            not rule "everyone" (spec.rules[1]) of HTTPRoute bookshop/reviews: more headers match in testers
answer      404 route_not_found
"""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"algorithm": "PeakEWMA", "hash_on": None}, "balancing   PeakEWMA"),
        ({"hash_on": "header x"}, "balancing   RingHash by header x: the request has none, any"),
        ({"ejected": "5 failures in a row"}, "              ejected: 5 failures in a row"),
        ({"health_check": "it accepts a connection"}, "              checked: it accepts a connection"),
        ({"panics": True}, "              ! so few endpoints are healthy that all are used"),
        ({"slow_start_ms": 30_000}, "              slow start: the share of a new endpoint grows for 30s"),
        ({"sessions": "cookie sid", "session_of": None}, "              session by cookie sid: none yet"),
        (
            {"sessions": "cookie sid", "session_of": "shop/a-1"},
            "              session by cookie sid: shop/a-1, while it is fit",
        ),
        ({"zone": "100 % stays in a"}, "              zone: 100 % stays in a"),
    ],
)
def test_how_an_endpoint_is_chosen_is_told(found: dict[str, Any], expected: str) -> None:
    balancing = {"algorithm": "RingHash", "hash_on": None, "owner": None, "ejected": None} | found
    assert expected in lines(TESTER | {"balancing": balancing}, PLACES, "http://u")


def test_what_keeps_requests_from_an_endpoint_is_told() -> None:
    standing = ["fails its health checks: it answered with status 503", "ejected for bad answers, for 7s more"]
    endpoint = TESTER["endpoints"][0] | {"standing": standing}
    told = list(lines(TESTER | {"endpoints": [endpoint]}, PLACES, "http://u"))
    at = told.index("endpoint    127.0.0.1:18104 (bookshop/reviews-v2-1)")
    assert told[at + 1 : at + 3] == [f"              ! {one}" for one in standing]


def test_what_is_long_takes_several_lines() -> None:
    checked = "GET /ready of reviews.shop gives 200; " + "; ".join(["every 10s, within 1s"] * 8)
    balancing = {"algorithm": "Random", "hash_on": None, "owner": None, "ejected": None, "health_check": checked}
    told = list(lines(TESTER | {"balancing": balancing}, PLACES, "http://u"))
    at = told.index("balancing   Random")
    end = next(number for number, line in enumerate(told) if line.startswith("endpoint"))
    assert end > at + 2
    assert " ".join(line.strip() for line in told[at + 1 : end]) == f"checked: {checked}"
    assert all(len(line) <= 110 for line in told)


def test_a_zone_is_told_beside_its_endpoint() -> None:
    endpoint = {"workload": "shop/a-1", "address": "127.0.0.1:8080", "identity": None, "zone": "eu-1"}
    told = lines(TESTER | {"endpoints": [endpoint]}, PLACES, "http://u")
    assert "endpoint    127.0.0.1:8080 (shop/a-1, zone eu-1)" in told


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"max_requests": 5}, "              at most 5 requests at a time"),
        (
            {"max_requests": 5, "max_connections": 2, "max_pending": 7},
            "              at most 5 requests and 2 connections, for which 7 requests may wait at a time",
        ),
    ],
)
def test_what_may_go_on_at_a_time_is_told(found: dict[str, Any], expected: str) -> None:
    assert expected in lines(TESTER | {"limits": LIMITS | found}, PLACES, "http://u")


NO_PORT = STRANGER | {"egress": None, "answer": {"status": 503, "reason": "port_not_found"}}
NO_PORT_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          http://u: the Service has no such port
answer      503 port_not_found
"""


NAMES = {"kind": "TLSRoute", "namespace": "bookshop", "name": "names"}
BY_NAME = TESTER | {
    "destination": {"service": "bookshop/shop", "port": 443, "protocol": "tls"},
    "route": {
        "object": NAMES,
        "rule": 0,
        "rule_name": "",
        "implicit": False,
        "matched": ["server name is *.a.example"],
    },
    "not_chosen": [{"object": NAMES, "rule": 1, "rule_name": "", "why": "server name is not b.example"}],
    "backends": [{"backend": "bookshop/x:1", "weight": 1, "total": 1, "invalid": "Service bookshop/x does not exist"}],
    "balancing": None,
    "endpoints": [],
    "limits": None,
    "policy": None,
    "answer": {"status": 500, "reason": "backend_not_found"},
}
BY_NAME_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          Service bookshop/shop port 443, protocol tls
route       TLSRoute bookshop/names, spec.rules[0]
              ✓ server name is *.a.example
            not spec.rules[1]: server name is not b.example
backend     bookshop/x:1, weight 1 of 1 ✗ Service bookshop/x does not exist: its share is closed
answer      500 backend_not_found; whoever speaks no HTTP is closed
"""


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ("server first", "Service shop/db port 3306, no protocol declared, last heard server first"),
        (None, "Service shop/db port 3306, no protocol declared, last heard nothing"),
    ],
)
def test_what_was_heard_stands_where_nothing_is_declared(heard: str | None, expected: str) -> None:
    called = {"service": "shop/db", "port": 3306, "protocol": "auto", "heard": heard}
    decision = {"destination": called, "route": {"implicit": True}, "answer": None}
    assert destination(decision, "http://u") == expected


def test_a_workload_at_its_own_address_is_no_service() -> None:
    called = {"service": "shop/db-1", "port": 3306, "protocol": "tcp", "heard": None}
    decision = {"destination": called, "route": None, "not_chosen": [], "answer": None}
    assert destination(decision, "http://u").startswith("Workload shop/db-1 port 3306 at its own address")
    assert "\n".join(route(decision, {})).startswith("route       none:")
    decision["answer"] = {"status": 404, "reason": "route_not_found"}
    assert destination(decision, "http://u").startswith("Service shop/db-1 port 3306")


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (TESTER, TESTER_LINES),
        (STRANGER, STRANGER_LINES),
        (NO_PORT, NO_PORT_LINES),
        (NO_MATCH, NO_MATCH_LINES),
        (BY_NAME, BY_NAME_LINES),
    ],
    ids=["matched", "outside the mesh", "no such port", "no rule", "by server name"],
)
def test_a_decision_is_told_in_the_users_words(decision: dict[str, Any], expected: str) -> None:
    assert "\n".join(lines(decision, PLACES, "http://u")) + "\n" == expected
