"""Changes of the YAML on a running mesh: live within a second, none lost, a mistake changes nothing."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from calling import Load, ask, say
from plait_cli.demo.processor import waited, waits
from shop import PATIENCE_SECONDS, Shop, accepts, free_ports, until

CHANGES_PER_SECOND = 10
CHURN_SECONDS = 5

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: stock, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: stock}}]
  rules:
{rules}"""
EVERYONE = """
  - name: everyone
    filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-change, value: "{change}"}}]}}}}]
    backendRefs: [{{name: green, port: 80, weight: {green}}}, {{name: blue, port: 80, weight: {blue}}}]
"""
TESTERS = """
  - name: testers
    matches: [{headers: [{name: x-tester, value: "yes"}]}]
    backendRefs: [{name: blue, port: 80}]
"""
CLIENTS = """
apiVersion: plait.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: ledger-clients, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: ledger}]
  action: Allow
  rules: [{from: [{serviceAccounts: [web]}]}]
"""


def route(change: int, green: int = 1, blue: int = 1, testers_first: bool = False) -> str:
    everyone = EVERYONE.format(change=change, green=green, blue=blue)
    return ROUTE.format(rules=TESTERS + everyone if testers_first else everyone + TESTERS)


def marked(shop: Shop) -> str:
    """What the route in force writes on a request."""
    return str(ask(shop.ports["web_out"], "http://stock/").json()["headers"].get("x-change", ""))


@pytest.fixture
def clean(shop: Shop) -> Iterator[Shop]:
    """The mesh, and afterwards without the files of the test."""
    yield shop
    for path in shop.yaml.glob("test-*.yaml"):
        path.unlink()
    assert shop.current()


def test_a_change_is_live_within_a_second(clean: Shop) -> None:
    pids = [os.getpid(), *clean.processes()]
    for change in range(1, 6):
        before, began = waits(pids), time.monotonic()
        clean.write("test-route.yaml", route(change))
        until(lambda change=change: marked(clean) == str(change), f"change {change} is live")
        took = time.monotonic() - began
        # A busy machine keeps whoever needs a processor waiting.
        assert took - waited(before, waits(pids)) < 1.0, took


def test_route_changes_under_load_lose_nothing(clean: Shop) -> None:
    port = clean.ports["web_out"]
    clean.write("test-route.yaml", route(0))
    until(lambda: marked(clean) == "0", "the route is live")
    began = time.monotonic()
    with Load(port, "http://stock/") as load:
        for change in range(1, CHANGES_PER_SECOND * CHURN_SECONDS + 1):
            clean.write("test-route.yaml", route(change, 1 + change % 7, 1 + change % 5, bool(change % 2)))
            tester = ask(port, "http://stock/", {"x-tester": "yes"})
            assert (tester.status, tester.json()["name"]) == (200, "stock-2")
            time.sleep(max(0.0, began + change / CHANGES_PER_SECOND - time.monotonic()))
        until(lambda: marked(clean) == str(change), "the last change is live")
    assert not load.lost()
    assert load.answered_by("stock-1")
    assert load.answered_by("stock-2")


def test_weights_are_obeyed(clean: Shop) -> None:
    clean.write("test-route.yaml", route(1, green=0, blue=5))
    until(lambda: marked(clean) == "1", "the route is live")
    assert {ask(clean.ports["web_out"], "http://stock/").json()["name"] for _ in range(40)} == {"stock-2"}


def test_a_mistake_changes_nothing_and_is_told_with_file_and_line(clean: Shop) -> None:
    clean.write("test-route.yaml", route(1))
    until(lambda: marked(clean) == "1", "the route is live")
    for text, status, line in (
        (route(2).replace("backendRefs: [{name: green", "backendRefz: [{name: green"), "Stale", 11),
        (route(2)[:-60], "Stale", None),
    ):
        clean.write("test-route.yaml", text)
        until(lambda status=status: problems(clean, status), "the mistake is told")
        (told,) = problems(clean, status)
        assert told["file"].endswith("test-route.yaml")
        assert line in (None, told["line"]), told
        assert marked(clean) == "1"
    done = clean.plait("status", "--state", str(clean.state))
    assert done.returncode == 1
    assert "test-route.yaml:" in done.stdout
    clean.write("test-route.yaml", route(3))
    until(lambda: marked(clean) == "3", "the corrected route is live")


def problems(shop: Shop, status: str) -> list[dict[str, object]]:
    """The problems of the test's route."""
    objects = shop.ask("status")["objects"]
    return [problem for one in objects if one["kind"] == "HTTPRoute" and one["status"] == status
            for problem in one["problems"]][:1]  # fmt: skip


def test_a_policy_cuts_open_connections_of_those_it_denies_and_no_others(clean: Shop) -> None:
    with (
        socket.create_connection(("127.0.0.1", clean.ports["ledger_bind"]), 5) as web,
        socket.create_connection(("127.0.0.1", clean.ports["guest_bind"]), 5) as guest,
    ):
        assert (say(web, "1"), say(guest, "1")) == ("ledger 1", "ledger 1")
        clean.write("test-policy.yaml", CLIENTS)
        guest.settimeout(PATIENCE_SECONDS)
        assert has_ended(guest)
        assert say(web, "2") == "ledger 2"
    refused = ask(clean.ports["guest_out"], "http://ledger:7000/")
    assert (refused.status, refused.headers["plait-reason"]) == (403, "policy_denied")
    assert "AuthorizationPolicy shop/ledger-clients" in refused.body
    assert "plait explain" in refused.body
    (clean.yaml / "test-policy.yaml").unlink()

    def allowed() -> bool:
        with socket.create_connection(("127.0.0.1", clean.ports["guest_bind"]), 5) as again:
            return say(again, "3") == "ledger 3"

    until(allowed, "the guest is let in again")


def has_ended(connection: socket.socket) -> bool:
    """Whether the far end closes or resets the connection before its timeout."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_egress_is_denied_when_the_mesh_says_so(clean: Shop) -> None:
    whole = (clean.yaml / "shop.yaml").read_text()
    clean.write("shop.yaml", whole.replace("egress: Allow", "egress: Deny"))
    try:

        def denied() -> bool:
            answer = ask(clean.ports["web_out"], "http://elsewhere.invalid/")
            return (answer.status, answer.headers.get("plait-reason")) == (403, "egress_denied")

        until(denied, "egress is denied")
    finally:
        clean.write("shop.yaml", whole)


NEWCOMER = """
apiVersion: v1
kind: Service
metadata: {{name: newcomer, namespace: shop}}
spec: {{selector: {{app: newcomer}}, ports: [{{name: http, port: 80, targetPort: http, appProtocol: http}}]}}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {{name: newcomer-1, namespace: shop, labels: {{app: newcomer}}}}
spec: {{serviceAccount: newcomer, address: 127.0.0.1, ports: [{{name: http, port: {port}}}]}}
"""


def test_a_workload_that_joins_is_served_and_one_that_leaves_is_gone(clean: Shop) -> None:
    port = clean.ports["web_out"]
    clean.write("test-newcomer.yaml", NEWCOMER.format(port=clean.ports["stock_1"]))
    until(lambda: ask(port, "http://newcomer/").status == 200, "the newcomer is served")
    assert clean.processes("proxy-shop.newcomer-1.sock")
    (clean.yaml / "test-newcomer.yaml").unlink()
    until(lambda: not clean.processes("proxy-shop.newcomer-1.sock"), "its sidecar has ended")
    until(lambda: ask(port, "http://newcomer/").status != 200, "its name is forgotten")


def test_a_sidecar_listens_where_it_is_told_to_while_it_runs(clean: Shop) -> None:
    whole = (clean.yaml / "shop.yaml").read_text()
    before = clean.ports["guest_out"]
    (after,) = free_ports(1)
    pid = clean.sidecar("guest-1")
    clean.write("shop.yaml", whole.replace(f"127.0.0.1:{before}", f"127.0.0.1:{after}"))
    try:
        until(lambda: accepts(after) and not accepts(before), "it listens on the new port alone")
        assert ask(after, "http://stock/").status == 200
        assert clean.sidecar("guest-1") == pid
    finally:
        clean.write("shop.yaml", whole)
    until(lambda: accepts(before), "it listens where it did")
