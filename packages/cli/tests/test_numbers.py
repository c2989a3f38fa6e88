"""What the counters say about services, routes and edges."""

import pytest
from plait_cli.numbers import By, Edge, edges, rows
from plait_cli.prometheus import parse
from plait_cli.verbs.edges import cells

OUT = 'direction="outbound",source="shop/web",destination="shop/reviews",route="shop/reviews#0"'
IN = 'direction="inbound",source="shop/web",destination="shop/reviews"'
TCP = 'direction="outbound",source="shop/web",destination="shop/ledger"'
METRICS = f"""
plait_requests_total{{{OUT},code_class="2xx"}} 90
plait_requests_total{{{OUT},code_class="4xx"}} 5
plait_requests_total{{{OUT},code_class="5xx"}} 5
plait_requests_total{{{IN},route="",code_class="2xx"}} 90
plait_request_duration_seconds_bucket{{{OUT},le="0.001"}} 50
plait_request_duration_seconds_bucket{{{OUT},le="+Inf"}} 100
plait_connections_total{{{TCP},protocol="tcp",tls="TLSv1.3"}} 4
plait_connection_bytes_total{{{TCP},flow="sent"}} 1000
plait_connections_total{{{IN},protocol="h2",tls="TLSv1.3"}} 2
plait_rejects_total{{{OUT},reason="policy_denied"}} 3
plait_rejects_total{{{OUT},reason="no_ready_endpoint"}} 5
plait_rejects_total{{{IN},route="",reason="policy_denied"}} 3
plait_policy_denials_total{{source="shop/web",destination="shop/reviews",object="AuthorizationPolicy shop/readers"}} 3
plait_connections_total{{direction="inbound",source="",destination="shop/web",protocol="tcp",tls="none"}} 2
"""


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.service, ["shop/ledger", "shop/reviews"]),
        (By.route, ["shop/reviews#0"]),
        (By.edge, ["shop/web → shop/ledger", "shop/web → shop/reviews"]),
    ],
)
def test_rows_are_of_the_callers_side(by: By, names: list[str]) -> None:
    assert [row.name for row in rows(parse(METRICS), by)] == names


def test_a_service_has_success_callers_routes_and_latency() -> None:
    ledger, reviews = rows(parse(METRICS), By.service)
    assert (reviews.requests, reviews.successes) == (100, 92)
    assert reviews.rejects == {"no_ready_endpoint": 5, "policy_denied": 3}
    assert (reviews.callers, reviews.routes) == ({"shop/web"}, {"shop/reviews"})
    assert reviews.latency.percentile(0.5) == pytest.approx(0.001)
    assert (ledger.requests, ledger.connections, ledger.bytes) == (0, 4, 1000)


def test_edges_name_the_identity_and_whether_they_are_encrypted() -> None:
    total = parse(METRICS)
    (edge,) = edges(total, total, "shop.example")
    assert (edge.source, edge.destination, edge.tls) == ("shop/web", "shop/reviews", True)
    assert edge.identity == "spiffe://shop.example/ns/shop/sa/web"
    assert (edge.requests, edge.successes, edge.rejects) == (90, 87, {"policy_denied": 3})
    assert edge.denials == {"AuthorizationPolicy shop/readers": 3}


def test_an_edge_that_is_denied_names_the_policy() -> None:
    refused = Edge("shop/web", "shop/ledger", "spiffe://shop.example/ns/shop/sa/web", True)
    refused.rejects["upstream_unreachable"] += 3
    assert cells(refused, 1.0)[-1] == "✗ upstream_unreachable"
    refused.rejects["policy_denied"] += 4
    refused.denials["AuthorizationPolicy shop/readers"] += 4
    assert cells(refused, 1.0)[-1] == "✗ denied by AuthorizationPolicy shop/readers"


def test_what_was_refused_once_and_works_since_is_not_called_refused() -> None:
    healed = Edge("shop/web", "shop/reviews", "spiffe://shop.example/ns/shop/sa/web", True, worked=True)
    healed.rejects["upstream_unreachable"] += 3
    assert cells(healed, 1.0)[-1] == "–"
    healed.recent["upstream_unreachable"] += 1
    assert cells(healed, 1.0)[-1] == "✗ upstream_unreachable"
