"""Labels that plugins give to requests, in the metrics of a real mesh."""

import json

from plugged import Mesh, until

PLUGIN = {
    "apiVersion": "plait.dev/v1alpha1",
    "kind": "Plugin",
    "metadata": {"name": "tenants", "namespace": "shop"},
    "spec": {
        "package": "plait-tenant-labels",
        "targetRefs": [{"group": "", "kind": "Service", "name": "stock"}],
        "direction": "Inbound",
        "config": {"tenants": ["acme"], "header": "x-tenant"},
        "limits": {"deadline": "5s"},
    },
}


def test_requests_are_counted_by_what_plugins_call_them(mesh: Mesh) -> None:
    mesh.write("tenants.yaml", json.dumps(PLUGIN))

    def counted(value: str) -> bool:
        """One more call of the tenant, until it is counted: the plugin is live a moment after it is written."""
        mesh.call(headers={"x-tenant": value})
        shown = value if value == "acme" else "other"
        labels = f'direction="inbound",destination="shop/stock",label="tenant",value="{shown}",code_class="2xx"'
        return f"plait_labelled_requests_total{{{labels}}}" in mesh.admin("stock-1", "/metrics").text

    for value in ("acme", "made up"):
        until(lambda value=value: counted(value), f"a call of {value} is counted")
    (mesh.yaml / "tenants.yaml").unlink()
    until(lambda: mesh.workers() == 0, "the plugin is gone")
