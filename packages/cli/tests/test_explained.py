"""The picture of one decision, whole."""

from typing import Any

import pytest
from plait_cli.explained import Places, lines

ROUTE = {"kind": "HTTPRoute", "namespace": "bookshop", "name": "reviews"}
POLICY = {"kind": "AuthorizationPolicy", "namespace": "bookshop", "name": "reviews-readers"}
PLACES: Places = {
    ("HTTPRoute", "bookshop", "reviews"): ("demo/routes.yaml", 2),
    ("AuthorizationPolicy", "bookshop", "reviews-readers"): ("demo/policies.yaml", 2),
}
LIMITS = {
    "request_ms": None,
    "attempt_ms": None,
    "connect_ms": 5000,
    "idle_ms": 3600000,
    "retries": None,
    "origins": [],
}
TESTER: dict[str, Any] = {
    "generation": 42,
    "from": {"workload": "bookshop/web-1", "identity": "spiffe://bookshop.example/ns/bookshop/sa/web"},
    "destination": {"service": "bookshop/reviews", "port": 80, "protocol": "http"},
    "route": {
        "object": ROUTE,
        "rule": 0,
        "rule_name": "testers",
        "matched": ["header x-tester = yes"],
        "implicit": False,
    },
    "not_chosen": [{"object": ROUTE, "rule": 1, "rule_name": "everyone", "why": "more headers match in testers"}],
    "filters": [],
    "backends": [{"service": "bookshop/reviews-v2", "port": 80, "weight": 1, "total": 1, "invalid": False}],
    "endpoints": [
        {"workload": "bookshop/reviews-v2-1", "address": "127.0.0.1:18104", "identity": "", "ejected": False}
    ],
    "limits": LIMITS,
    "policy": {"verdict": "allow", "reason": "", "object": POLICY, "rule": 0, "dry_run": []},
    "answer": {"status": None, "reason": None},
}
TESTER_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          Service bookshop/reviews port 80, protocol http
route       HTTPRoute bookshop/reviews, rule "testers"                        demo/routes.yaml:2
              ✓ header x-tester = yes
            not rule "everyone": more headers match in testers
backend     bookshop/reviews-v2 port 80, weight 1 of 1
endpoint    127.0.0.1:18104 (bookshop/reviews-v2-1)
limits      request none, attempt none, connect 5000 ms, idle 3600000 ms
retries     none
policy      Allow by AuthorizationPolicy bookshop/reviews-readers, rule 0     demo/policies.yaml:2
"""
STRANGER = TESTER | {
    "destination": {"egress": "Allow"},
    "route": None,
    "not_chosen": [],
    "backends": [],
    "endpoints": [],
    "limits": None,
    "policy": None,
}
STRANGER_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          http://u: not in the mesh; Mesh default, spec.egress: Allow
"""
NO_MATCH = TESTER | {
    "route": None,
    "backends": [],
    "endpoints": [],
    "limits": None,
    "policy": None,
    "answer": {"status": 404, "reason": "route_not_found"},
}
NO_MATCH_LINES = """\
from        bookshop/web-1, spiffe://bookshop.example/ns/bookshop/sa/web      generation 42
to          Service bookshop/reviews port 80, protocol http
route       no rule matches
            not rule "everyone" of HTTPRoute bookshop/reviews: more headers match in testers
answer      404 route_not_found
"""


@pytest.mark.parametrize(
    ("decision", "expected"),
    [(TESTER, TESTER_LINES), (STRANGER, STRANGER_LINES), (NO_MATCH, NO_MATCH_LINES)],
    ids=["matched", "outside the mesh", "no rule"],
)
def test_a_decision_is_told_in_the_users_words(decision: dict[str, Any], expected: str) -> None:
    assert "\n".join(lines(decision, PLACES, "http://u")) + "\n" == expected
