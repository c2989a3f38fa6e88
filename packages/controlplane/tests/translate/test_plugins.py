"""Plugins: in which order they run, which calls of which workload pass them, and who gets them."""

import json

import pytest
from google.protobuf.json_format import MessageToDict
from plait_controlplane.interest.publication import publish, resources_of
from plait_controlplane.interest.wanted import wanted
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import World, world_of
from plait_controlplane.translate.everything import check
from plait_controlplane.translate.names import full_name
from plait_controlplane.translate.plugin import order
from plait_sdk.contracts import plugin_pb2, resource_pb2, workload_pb2

BASE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: a-1, namespace: shop, labels: {app: a}}
spec: {serviceAccount: a, address: 127.0.0.1, ports: [{name: http, port: 8080}, {name: admin, port: 9090}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: b-1, namespace: other}
spec: {serviceAccount: b, address: 127.0.0.1, ports: [{name: http, port: 8081}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: a}]
  rules: [{name: only, backendRefs: [{name: a, port: 80}]}]
"""
SERVICE = "{kind: Service, name: a}"
NAMESPACE = "{kind: Namespace, name: shop}"
MESH = "{group: plait.dev, kind: Mesh, name: default}"
ROUTE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}"


def plugin(name: str, target: str, direction: str = "Inbound", more: str = "", age: int = 0) -> str:
    namespace, _, short = name.rpartition("/")
    created = f"2026-01-{age + 1:02d}T00:00:00Z"
    return (
        "apiVersion: plait.dev/v1alpha1\nkind: Plugin\n"
        f"metadata: {{name: {short}, namespace: {namespace or 'shop'}, creationTimestamp: '{created}'}}\n"
        f"spec: {{package: plait-one, direction: {direction}, targetRefs: [{target}]{more}}}"
    )


def world(*documents: str) -> World:
    found, problems = read("test.yaml", "\n---\n".join([BASE, *documents]))
    assert problems == []
    return world_of(found)[0]


def workload(made: World, name: str) -> workload_pb2.Workload:
    kind = resource_pb2.RESOURCE_KIND_WORKLOAD
    body = next(one.body for one in offline(made).resources if (one.kind, one.name) == (kind, name))
    return workload_pb2.Workload.FromString(body)


def test_a_plugin_becomes_this_message() -> None:
    spec = (
        ', plugin: one, version: ">=1,<2", config: {b: 1, a: [x]}, trustGroup: edge, '
        "limits: {deadline: 20ms, memory: 64Mi, body: 1k}, onTimeout: Open"
    )
    made = offline(world(plugin("p", SERVICE, more=spec)))
    body = next(one.body for one in made.resources if one.kind == resource_pb2.RESOURCE_KIND_PLUGIN)
    message = MessageToDict(plugin_pb2.Plugin.FromString(body))
    assert json.loads(message.pop("config")) == {"a": ["x"], "b": 1}
    assert message == {
        "object": {"kind": "Plugin", "namespace": "shop", "name": "p"},
        "package": "plait-one",
        "entryPoint": "one",
        "version": "<2,>=1",
        "deadline": "0.020s",
        "memoryBytes": str(64 * 2**20),
        "bodyBytes": "1000",
        "onError": "FAILURE_POLICY_CLOSED",
        "onTimeout": "FAILURE_POLICY_OPEN",
        "onLoadFailure": "FAILURE_POLICY_CLOSED",
        "group": "shop/edge",
    }


def test_teams_share_no_worker_unless_they_are_one() -> None:
    made = world(
        plugin("p", SERVICE), plugin("other/p", "{kind: Namespace, name: other}", more=", trustGroup: default")
    )
    bodies = [one.body for one in offline(made).resources if one.kind == resource_pb2.RESOURCE_KIND_PLUGIN]
    assert {plugin_pb2.Plugin.FromString(body).group for body in bodies} == {"shop/default", "other/default"}


@pytest.mark.parametrize(
    ("name", "target", "ports"),
    [
        ("p", SERVICE, [8080]),
        ("p", NAMESPACE, []),
        ("plait-system/p", MESH, []),
        ("other/p", MESH, None),
        ("other/p", SERVICE, None),
        ("other/p", NAMESPACE, None),
    ],
)
def test_an_inbound_plugin_covers_these_ports(name: str, target: str, ports: list[int] | None) -> None:
    found = workload(world(plugin(name, target)), "shop/a-1").inbound_plugins
    assert [list(one.ports) for one in found] == ([] if ports is None else [ports])


@pytest.mark.parametrize(
    ("name", "target", "here", "elsewhere"),
    [
        ("p", SERVICE, [{"service": "shop/a"}], None),
        ("p", ROUTE, [{"route": "HTTPRoute/shop/r"}], None),
        ("p", f"{ROUTE[:-1]}, sectionName: only}}", [{"route": "HTTPRoute/shop/r", "rule": "only"}], None),
        ("p", f"{SERVICE}, {NAMESPACE}", [], None),
        ("plait-system/p", MESH, [], []),
        ("other/p", "{kind: Namespace, name: other}", None, []),
    ],
)
def test_an_outbound_plugin_runs_beside_its_own_team_alone(
    name: str, target: str, here: list[object] | None, elsewhere: list[object] | None
) -> None:
    made = world(plugin(name, target, "Outbound"))
    for caller, expected in (("shop/a-1", here), ("other/b-1", elsewhere)):
        found = workload(made, caller).outbound_plugins
        scopes = [[MessageToDict(scope) for scope in one.scopes] for one in found]
        assert scopes == ([] if expected is None else [expected]), caller


def names(made: World) -> list[str]:
    return [full_name(one.metadata).removeprefix("shop/") for one in order(made).plugins]


def test_the_platform_stands_nearest_to_the_wire_and_the_older_before_the_younger() -> None:
    levels = [("young", SERVICE, 3), ("old", SERVICE, 1), ("space", NAMESPACE, 5), ("plait-system/mesh", MESH, 7)]
    inbound = world(*(plugin(name, target, age=age) for name, target, age in levels))
    assert names(inbound) == ["plait-system/mesh", "space", "old", "young"]
    outbound = world(*(plugin(name, target, "Outbound", age=age) for name, target, age in [*levels, ("r", ROUTE, 9)]))
    assert names(outbound) == ["r", "old", "young", "space", "plait-system/mesh"]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ({}, "a b c"),
        ({"a": "after: [c]"}, "b c a"),
        ({"c": "before: [a]"}, "b c a"),
        ({"c": "before: [a, shop/b]"}, "c a b"),
        ({"a": "after: [gone]"}, "a b c"),
        ({"a": "after: [b], before: [c]"}, "b a c"),
    ],
)
def test_order_moves_a_plugin(orders: dict[str, str], expected: str) -> None:
    documents = [plugin(name, SERVICE, more=f", order: {{{orders.get(name, '')}}}") for name in "abc"]
    assert " ".join(names(world(*documents))) == expected


def test_a_circle_is_told_to_those_who_made_it() -> None:
    documents = [
        plugin("a", SERVICE, more=", order: {before: [b], after: [b]}"),
        plugin("b", SERVICE),
        plugin("c", SERVICE),
    ]
    problems = [one for one in check(world(*documents)) if "circle" in one.message]
    assert [(one.object, one.path) for one in problems] == [("Plugin shop/a", "spec.order.before")]
    assert names(world(*documents)) == ["c", "a", "b"]


def test_a_proxy_gets_the_plugins_that_concern_it_before_the_workload_that_names_them() -> None:
    made = world(plugin("p", SERVICE), plugin("other/q", "{kind: Namespace, name: other}"))
    publication = publish(1, resources_of(offline(made), [b"root"]))
    kind = resource_pb2.RESOURCE_KIND_PLUGIN
    for name, plugins in (("shop/a-1", ["shop/p"]), ("other/b-1", ["other/q"])):
        keys = wanted(publication, [name], []).keys
        assert [key[1] for key in keys if key[0] == kind] == plugins
        assert keys.index((kind, plugins[0])) < keys.index((resource_pb2.RESOURCE_KIND_WORKLOAD, name))


def test_more_than_a_chain_can_hold_are_told() -> None:
    made = world(*(plugin(f"p{number}", SERVICE) for number in range(65)))
    told = [one.object for one in check(made) if "more than 64" in one.message]
    assert told == ["Plugin shop/p64"] or len(told) == 1
