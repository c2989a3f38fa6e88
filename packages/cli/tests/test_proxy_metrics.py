"""What the proxy writes is what the command reads: the golden text of the proxy's own test, through `numbers`."""

from pathlib import Path

import pytest
from plait_cli.numbers import By, edges, rows
from plait_cli.prometheus import parse

GOLDEN = Path(__file__).resolve().parents[2] / "proxy/crates/telemetry/tests/golden/metrics.txt"
METRICS = parse(GOLDEN.read_text())


def test_no_sample_is_passed_over() -> None:
    samples = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    assert len(METRICS) == len(samples)


def test_services_have_what_callers_got() -> None:
    ledger, reviews = rows(METRICS, By.service)
    assert (ledger.name, ledger.connections, ledger.bytes, ledger.callers) == ("shop/ledger", 1, 1234, {"shop/web-1"})
    assert (reviews.name, reviews.requests, reviews.successes) == ("shop/reviews", 5, 4)
    assert (reviews.callers, reviews.routes) == ({"shop/web-1"}, {"shop/reviews"})
    # Of 0.05, 0.15, 0.9, 1.5 and 30 ms.
    assert reviews.latency.percentile(0.5) == pytest.approx(0.00075)
    assert reviews.latency.percentile(1.0) == pytest.approx(0.05)


def test_routes_are_those_that_decided() -> None:
    assert [row.name for row in rows(METRICS, By.route)] == ["shop/reviews#everyone"]


def test_edges_are_those_that_destinations_saw() -> None:
    (edge,) = edges(METRICS, METRICS, "shop.example")
    assert (edge.source, edge.destination, edge.tls) == ("shop/catalog", "shop/web", True)
    assert edge.identity == "spiffe://shop.example/ns/shop/sa/catalog"
    assert (edge.requests, edge.successes, edge.connections) == (1, 1, 1)


def test_a_dry_run_is_counted_as_the_demo_expects() -> None:
    labels = (("policy", "shop/readers"), ("verdict", "denied"), ("workload", "shop/web-1"))
    assert METRICS["plait_policy_dry_run_total", labels] == 1
