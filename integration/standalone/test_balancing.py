"""TrafficPolicies from YAML to who answers, and as `explain` tells: sessions, zones, connections."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from calling import Answer, ask
from shop import Shop, until

POLICY = """
apiVersion: plait.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stock, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: stock}]
"""


ROUTE = """---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules:
    - matches: [{path: {value: /cart}}]
      sessionPersistence: {sessionName: cart, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
      backendRefs: [{name: stock, port: 80}]
    - backendRefs: [{name: stock, port: 80}]
"""


def get(shop: Shop, path: str = "/", **headers: str) -> Answer:
    return ask(shop.ports["web_out"], f"http://stock{path}", headers)


def enforce(shop: Shop, fields: str) -> None:
    """Puts a policy in force."""
    before = shop.generation()
    shop.write("test-policy.yaml", POLICY + fields)
    until(lambda: shop.generation() > before, "the policy is in force")
    assert shop.current()


@pytest.fixture(autouse=True)
def left_as_it_was(shop: Shop) -> None:
    """Each test has its own policy."""
    (shop.yaml / "test-policy.yaml").unlink(missing_ok=True)
    assert shop.current()


def test_a_session_stays_with_its_instance(shop: Shop) -> None:
    enforce(shop, "  loadBalancer: {algorithm: RoundRobin}\n  sessionAffinity: {cookie: {name: sid, ttl: 1h}}\n")
    answers = [get(shop) for _ in range(2)]
    homes = {answer.json()["name"]: answer.headers["set-cookie"] for answer in answers}
    assert set(homes) == {"stock-1", "stock-2"}
    for name, cookie in homes.items():
        assert cookie.endswith("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax")
        for _ in range(4):
            answer = get(shop, cookie=cookie.partition(";")[0])
            assert (answer.json()["name"], "set-cookie" in answer.headers) == (name, False)
    told = shop.ask("explain", "GET", "http://stock/", "--from", "web-1")["balancing"]
    assert (told["sessions"], told["session_of"]) == ("cookie sid, for 3600s", None)


def test_a_rule_brings_its_own_callers_back(shop: Shop) -> None:
    enforce(shop, "  loadBalancer: {algorithm: RoundRobin}\n" + ROUTE)
    answers = [get(shop, "/cart") for _ in range(2)]
    homes = {answer.json()["name"]: answer.headers["set-cookie"] for answer in answers}
    assert set(homes) == {"stock-1", "stock-2"}
    for name, cookie in homes.items():
        assert cookie.startswith("cart=")
        assert cookie.endswith("; Path=/cart; Max-Age=3600; HttpOnly; SameSite=Lax")
        for _ in range(4):
            answer = get(shop, "/cart", cookie=cookie.partition(";")[0])
            assert (answer.json()["name"], "set-cookie" in answer.headers) == (name, False)
    assert all("set-cookie" not in get(shop, "/other").headers for _ in range(2))
    told = shop.ask("explain", "GET", "http://stock/cart", "--from", "web-1")
    assert told["balancing"]["sessions"] == "cookie cart, for 3600s"
    assert ("sessionPersistence", "spec.rules[0].sessionPersistence") in {
        (origin["field"], origin["path"]) for origin in told["limits"]["origins"]
    }


def test_calls_stay_in_the_zone_of_their_caller(shop: Shop) -> None:
    original = (shop.yaml / "shop.yaml").read_text()
    zoned = original.replace("serviceAccount: web\n", "serviceAccount: web\n  zone: a\n")
    for name, zone in (("stock_1", "b"), ("stock_2", "a")):
        ports = f"ports: [{{name: http, port: {shop.ports[name]}}}]"
        zoned = zoned.replace(ports, f"zone: {zone}, {ports}")
    try:
        shop.write("shop.yaml", zoned)
        enforce(shop, "  loadBalancer: {algorithm: RoundRobin, zoneAware: {}}\n")
        assert {get(shop).json()["name"] for _ in range(10)} == {"stock-2"}
        told = shop.ask("explain", "GET", "http://stock/", "--from", "web-1")
        assert told["balancing"]["zone"] == "100 % stays in a, which has 1 of 2 fit endpoints"
        enforce(shop, "  loadBalancer: {algorithm: RoundRobin, zoneAware: {minEndpoints: 2}}\n")
        assert {get(shop).json()["name"] for _ in range(10)} == {"stock-1", "stock-2"}
    finally:
        shop.write("shop.yaml", original)
        assert shop.current()


def test_connections_are_limited_beside_the_process(shop: Shop) -> None:
    enforce(shop, "  connections: {max: 1, maxPending: 1}\n")
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: get(shop, "/slow/0.5"), range(8)))
    refused = [answer for answer in answers if answer.status != 200]
    # Each of two instances serves one and lets one wait; a refusal is tried again, and may be served in the end.
    assert len(answers) - len(refused) >= 4
    assert {(answer.status, answer.headers["plait-reason"]) for answer in refused} <= {(503, "connection_limit")}
    waits = [shop.admin(name, "/metrics").text for name in ("stock-1", "stock-2")]
    assert all('plait_connection_waits_total{destination="shop/' in metrics for metrics in waits)
    told = shop.ask("explain", "GET", "http://stock/", "--from", "web-1")["limits"]
    assert (told["max_connections"], told["max_pending"]) == (1, 1)
