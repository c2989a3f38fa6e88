"""The harness for a plugin's tests: the worker's own dispatch without a proxy, and the fixture `plait` of pytest.

from plait_sdk.testing import Harness

with Harness(TenantFromPath, config={"header": "x-tenant"}) as harness:
    assert harness.request("GET", "/acme/x").sent["x-tenant"] == "acme"
"""

from plait_sdk.testing.exchange import Exchange, Failure, PluginPart
from plait_sdk.testing.harness import Harness

__all__ = ["Exchange", "Failure", "Harness", "PluginPart"]
