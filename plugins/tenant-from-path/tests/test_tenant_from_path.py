"""What the plugin does to a request."""

from collections.abc import Callable

import pytest
from plait_sdk.testing import Harness
from plait_tenant_from_path import TenantFromPath


@pytest.mark.parametrize(("path", "tenant"), [("/acme/orders", "acme"), ("/acme", "acme"), ("/", "")])
def test_the_first_segment_becomes_the_header(plait: Callable[..., Harness], path: str, tenant: str) -> None:
    exchange = plait(TenantFromPath).request("GET", path)
    assert exchange.sent["x-tenant"] == tenant


def test_the_header_is_configured(plait: Callable[..., Harness]) -> None:
    exchange = plait(TenantFromPath, config={"header": "x-area"}).request("GET", "/acme/orders")
    assert dict(exchange.sent) == {"x-area": "acme"}


def test_what_a_caller_sent_is_replaced(plait: Callable[..., Harness]) -> None:
    exchange = plait(TenantFromPath).request("GET", "/acme", headers={"X-Tenant": "forged"})
    assert exchange.sent.all("x-tenant") == ["acme"]
