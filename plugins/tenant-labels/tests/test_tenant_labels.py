"""Which label and which attribute a request gets, and that no caller can make a series of its own."""

from typing import Any

import plait_sdk as plait
import pytest
from plait_sdk.testing import Harness
from plait_tenant_labels import TenantLabels

TENANTS = ["acme", "globex"]


@pytest.mark.parametrize(
    ("source", "request_", "label", "attribute"),
    [
        ({"header": "x-tenant"}, {"headers": {"X-Tenant": "acme"}}, "acme", "acme"),
        ({"header": "x-tenant"}, {"headers": {"x-tenant": "initech"}}, "other", "initech"),
        ({"header": "x-tenant"}, {}, "none", None),
        ({"segment": 1}, {"target": "/globex/orders?tenant=acme"}, "globex", "globex"),
        ({"segment": 2}, {"target": "/v1/acme"}, "acme", "acme"),
        ({"segment": 3}, {"target": "/v1/acme"}, "none", None),
        ({"segment": 1}, {"target": "/"}, "none", None),
        ({"namespace": True}, {"identity": "spiffe://d/ns/acme/sa/web"}, "acme", "acme"),
        ({"namespace": True}, {"identity": None}, "none", None),
    ],
)
def test_labels(source: dict[str, Any], request_: dict[str, Any], label: str, attribute: str | None) -> None:
    with Harness(TenantLabels, config={"tenants": TENANTS, **source}) as harness:
        exchange = harness.request(**request_)
    assert exchange.labels == {"tenant": label}
    assert exchange.span_attributes.get("plait.tenant") == attribute


def test_a_caller_makes_no_series_however_many_names_it_thinks_of() -> None:
    with Harness(TenantLabels, config={"tenants": TENANTS, "header": "x-tenant"}) as harness:
        labels = {harness.request(headers={"x-tenant": f"t{number}"}).labels["tenant"] for number in range(1000)}
    assert labels == {"other"}


def test_a_long_name_is_cut_in_the_span() -> None:
    with Harness(TenantLabels, config={"tenants": [], "header": "x-tenant"}) as harness:
        exchange = harness.request(headers={"x-tenant": "x" * 5000})
    assert len(exchange.span_attributes["plait.tenant"]) == 128


def test_names_are_the_users() -> None:
    config = {"tenants": ["a"], "segment": 1, "label": "team", "attribute": "", "others": "rest"}
    with Harness(TenantLabels, config=config) as harness:
        exchange = harness.request(target="/b")
    assert (exchange.labels, exchange.span_attributes) == ({"team": "rest"}, {})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"tenants": []}, "exactly one of"),
        ({"tenants": [], "header": "a", "segment": 1}, "exactly one of"),
        ({"tenants": [], "segment": -1}, "segment"),
        ({"tenants": [], "header": "a", "label": "Tenant"}, "label"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object], told: str) -> None:
    with pytest.raises(plait.ConfigError, match=told):
        Harness(TenantLabels, config=config)
