"""Plugins that say where a request goes, on a real mesh."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from plugged import Mesh, until

USERS = 40
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules:
    - filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: {set: [{name: x-rule, value: seen}]}
      backendRefs:
        - {name: stock, port: 80, weight: 1, filters: [%s]}
        - {name: stock-next, port: 80, weight: 0, filters: [%s]}
"""
SETS = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-side, value: %s}]}}"


@pytest.fixture
def routed(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh with a route of two backends, the new one without a weight."""
    mesh.write("route.yaml", ROUTE % (SETS % "old", SETS % "new"))
    until(lambda: mesh.received()["headers"].get("x-side") == "old", "the route is in force")
    yield mesh
    for name in ("route.yaml", "canary.yaml"):
        (mesh.yaml / name).unlink(missing_ok=True)
    until(lambda: (answer := mesh.call()).status_code == 200 and "x-side" not in answer.text, "the route is gone")


@pytest.fixture
def steered(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh with a plugin on the calls to two Services."""
    targets = [{"group": "", "kind": "Service", "name": name} for name in ("stock", "warehouse")]
    mesh.attach("s", plugin="steer", direction="Outbound", targetRefs=targets, limits={"deadline": "5s"})
    until(lambda: "x-tries" in mesh.call().headers, "the plugin is live")
    yield mesh
    (mesh.yaml / "s.yaml").unlink()
    until(lambda: "x-tries" not in mesh.call().headers, "the plugin is gone")


def canary(mesh: Mesh, config: dict[str, Any], **spec: Any) -> None:
    resource = {
        "apiVersion": "plait.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "canary", "namespace": "shop"},
        "spec": {
            "package": "plait-canary",
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "stock"}],
            "direction": "Outbound",
            "config": config,
            "limits": {"deadline": "5s"},
            **spec,
        },
    }
    mesh.write("canary.yaml", json.dumps(resource))


def side(mesh: Mesh, **headers: str) -> str:
    """Who answered; the filters of that backend and no other changed the request."""
    received = mesh.received(headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert received["headers"]["x-rule"] == "seen"
    assert received["headers"]["x-side"] == {"stock-1": "old", "next-1": "new"}[received["name"]]
    return str(received["name"])


def test_a_share_of_the_users_goes_to_the_canary_and_each_stays_by_its_cookie(routed: Mesh) -> None:
    assert {side(routed) for _ in range(10)} == {"stock-1"}
    canary(routed, {"backend": "stock-next", "percent": 50, "cookie": "side"})
    until(lambda: "set-cookie" in routed.call().headers, "the canary gives cookies")
    sides = []
    for _ in range(USERS):
        first = routed.call()
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert first.status_code == 200, first.text
        sides.append(first.json()["name"])
        for _ in range(2):
            again = routed.call(headers={"cookie": cookie})
            assert again.status_code == 200, again.text
            assert (again.json()["name"], "set-cookie" in again.headers) == (sides[-1], False)
    assert set(sides) == {"stock-1", "next-1"}
    assert side(routed, x_canary="always") == "next-1"
    assert side(routed, x_canary="never") == "stock-1"
    metrics = routed.admin("web-1", "/metrics").text
    assert 'plait_plugin_calls_total{plugin="shop/canary",phase="request"}' in metrics


@pytest.mark.parametrize(("policy", "status", "reason"), [("Closed", 500, "plugin_error"), ("Open", 200, None)])
def test_a_canary_that_the_route_does_not_have_is_a_failure(
    routed: Mesh, policy: str, status: int, reason: str | None
) -> None:
    canary(routed, {"backend": "nobody", "percent": 100, "header": "x-user"}, onError=policy)

    def counted() -> bool:
        answer = routed.call(headers={"x-user": "ada"})
        metrics = routed.admin("web-1", "/metrics").text
        failed = 'plait_plugin_failures_total{plugin="shop/canary",phase="request",cause="error"}'
        return (answer.status_code, answer.headers.get("plait-reason")) == (status, reason) and failed in metrics

    until(counted, "the policy answers for it")


def test_endpoints_are_tried_in_the_order_of_a_plugin(steered: Mesh) -> None:
    for name in ("stock-1", "next-1") * 5:
        answer = steered.call(headers={"host": "warehouse", "x-first": f"shop/{name}"})
        assert answer.json()["name"] == name, answer.text
    assert steered.call(headers={"host": "warehouse"}).json()["name"] in ("stock-1", "next-1")
    stranger = steered.call(headers={"host": "warehouse", "x-first": "shop/web-1"})
    assert (stranger.status_code, stranger.headers["plait-reason"]) == (500, "plugin_error")
    assert 'plait_plugin_calls_total{plugin="shop/s",phase="endpoints"}' in steered.admin("web-1", "/metrics").text


def test_a_plugin_says_whether_there_is_another_try(steered: Mesh) -> None:
    def tried(path: str, **headers: str) -> tuple[int, str]:
        answer = steered.call(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return answer.status_code, answer.headers["x-tries"]

    assert tried("/flaky/2/a", x_again="yes") == (200, "2 503 None")
    assert tried("/flaky/9/b", x_again="yes") == (503, "3 503 None")
    assert tried("/flaky/1/c", x_again="no") == (503, "1 503 None")
    # Nothing said: the route, which has no retries.
    assert tried("/flaky/1/d") == (503, "1 503 None")
    assert tried("/seen/flaky/9/b")[1] == "none"
    assert steered.call("/seen/flaky/9/b").text == "4"
    assert steered.call("/seen/flaky/1/c").text == "1"
    assert 'plait_plugin_calls_total{plugin="shop/s",phase="retry"}' in steered.admin("web-1", "/metrics").text
