"""What the API's words mean, a line each: policies that cover a workload, traffic settings that win."""

import pytest
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import World, world_of
from plait_controlplane.translate.everything import check
from plait_sdk.contracts import endpoint_pb2, resource_pb2, route_pb2, service_pb2, workload_pb2

BASE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: a-1, namespace: shop, labels: {app: a, tier: front}}
spec: {serviceAccount: a, address: 127.0.0.1, ports: [{name: http, port: 8080}, {name: admin, port: 9090}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: a}]
  rules: [{name: only, backendRefs: [{name: a, port: 80}]}]
"""


def world(*documents: str) -> World:
    found, problems = read("test.yaml", "\n---\n".join([BASE, *documents]))
    assert problems == []
    return world_of(found)[0]


def body(made: World, kind: int, name: str) -> bytes:
    return next(one.body for one in offline(made).resources if (one.kind, one.name) == (kind, name))


def policy(namespace: str, spec: str) -> str:
    return (
        "apiVersion: plait.dev/v1alpha1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: p, namespace: {namespace}}}\nspec: {{action: Deny{spec}}}"
    )


@pytest.mark.parametrize(
    ("namespace", "spec", "expected"),
    [
        ("shop", ", targetRefs: [{kind: Service, name: a}]", [8080]),
        ("shop", ", selector: {tier: front}", []),
        ("shop", ", selector: {tier: back}", None),
        ("shop", "", []),
        ("other", "", None),
        ("shop", ", targetRefs: [{kind: Namespace, name: shop}]", []),
        ("plait-system", ", targetRefs: [{group: plait.dev, kind: Mesh, name: default}]", []),
        ("other", ", targetRefs: [{group: plait.dev, kind: Mesh, name: default}]", None),
        ("other", ", targetRefs: [{kind: Service, name: a}]", None),
    ],
)
def test_a_policy_covers_what_its_target_picks(namespace: str, spec: str, expected: list[int] | None) -> None:
    data = body(world(policy(namespace, spec)), resource_pb2.RESOURCE_KIND_WORKLOAD, "shop/a-1")
    held = workload_pb2.Workload.FromString(data).policies
    assert [list(one.ports) for one in held] == ([] if expected is None else [expected])


def traffic(name: str, target: str, seconds: int, created: str = "", namespace: str = "shop") -> str:
    return (
        "apiVersion: plait.dev/v1alpha1\nkind: TrafficPolicy\n"
        f'metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}\n'
        f"spec: {{targetRefs: [{target}], timeouts: {{request: {seconds}s, connect: {seconds}s}}}}"
    )


SERVICE = "{kind: Service, name: a}"
ROUTE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}"
RULE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: only}"
NAMESPACE = "{kind: Namespace, name: shop}"
MESH = "{group: plait.dev, kind: Mesh, name: default}"


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], None),
        ([("m", MESH, 1, "", "plait-system")], 1),
        ([("m", MESH, 1, "", "plait-system"), ("n", NAMESPACE, 2)], 2),
        ([("n", NAMESPACE, 2), ("s", SERVICE, 3)], 3),
        ([("s", SERVICE, 3), ("r", ROUTE, 4)], 4),
        ([("r", ROUTE, 4), ("u", RULE, 5)], 5),
        ([("new", ROUTE, 6, "2026-02-01T00:00:00Z"), ("old", ROUTE, 7, "2026-01-01T00:00:00Z")], 7),
        ([("b", ROUTE, 6), ("a", ROUTE, 7)], 7),
    ],
)
def test_the_nearer_policy_wins_then_the_older(policies: list[tuple[str, str, int]], expected: int | None) -> None:
    made = world(*(traffic(*one) for one in policies))
    data = body(made, resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/r")
    rule = route_pb2.Route.FromString(data).rules[0].traffic
    assert (rule.request_timeout.seconds if rule.HasField("request_timeout") else None) == expected


def retries(name: str, target: str, block: str, namespace: str = "shop") -> str:
    return (
        f"apiVersion: plait.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{targetRefs: [{target}], retries: {{{block}}}}}"
    )


def test_retries_merge_field_by_field_with_the_origin_of_each() -> None:
    documents = [
        retries("m", MESH, "attempts: 9, budget: {percent: 9, minPerSecond: 3, interval: 9s}", "plait-system"),
        retries("s", SERVICE, "codes: [503], attempts: 2, budget: {percent: 5}"),
        retries("u", RULE, "backoff: 7ms"),
    ]
    own = BASE.replace("rules: [{name: only,", "rules: [{name: only, retry: {attempts: 1}, timeouts: {request: 0s},")
    found, problems = read("test.yaml", "\n---\n".join([own, *documents]))
    assert problems == []
    data = body(world_of(found)[0], resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/r")
    calls = route_pb2.Route.FromString(data).rules[0].traffic
    made = calls.retries
    assert (list(made.codes), made.attempts, made.backoff.ToMilliseconds()) == ([503], 1, 7)
    assert (made.budget.percent, made.budget.min_per_second, made.budget.interval.seconds) == (5, 3, 9)
    assert not calls.HasField("request_timeout"), "a timeout of zero is none"
    assert [(one.field, one.object.name, one.path) for one in calls.origins] == [
        ("timeouts.request", "r", "spec.rules[0].timeouts.request"),
        ("retries.codes", "s", "spec.retries.codes"),
        ("retries.attempts", "r", "spec.rules[0].retry.attempts"),
        ("retries.backoff", "u", "spec.retries.backoff"),
        ("retries.budget.percent", "s", "spec.retries.budget.percent"),
        ("retries.budget.interval", "m", "spec.retries.budget.interval"),
        ("retries.budget.minPerSecond", "m", "spec.retries.budget.minPerSecond"),
    ]


@pytest.mark.parametrize(
    ("documents", "codes", "attempts", "budget"),
    [
        ([], [], None, None),
        ([retries("s", SERVICE, "codes: [503]")], [503], 1, None),
        ([retries("s", SERVICE, "codes: [503]"), retries("u", RULE, "codes: []")], [], 1, None),
        ([retries("s", SERVICE, "budget: {percent: 0}")], [], 1, (0, 10)),
        ([retries("s", SERVICE, "attempts: 3"), retries("n", NAMESPACE, "codes: [502]")], [502], 3, None),
        ([retries("a", SERVICE, "attempts: 3"), retries("b", SERVICE, "attempts: 4, codes: [502]")], [502], 3, None),
        ([retries("s", SERVICE, "{}"[1:-1])], [], None, None),
    ],
)
def test_what_no_policy_says_of_retries_has_its_default(
    documents: list[str], codes: list[int], attempts: int | None, budget: tuple[int, int] | None
) -> None:
    data = body(world(*documents), resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/r")
    calls = route_pb2.Route.FromString(data).rules[0].traffic
    assert list(calls.retries.codes) == codes
    assert (calls.retries.attempts if calls.HasField("retries") else None) == attempts
    held = calls.retries.budget
    assert ((held.percent, held.min_per_second) if calls.retries.HasField("budget") else None) == budget


def test_a_backend_takes_its_settings_from_its_own_service() -> None:
    made = world(traffic("r", ROUTE, 4), traffic("s", SERVICE, 3))
    service = service_pb2.Service.FromString(body(made, resource_pb2.RESOURCE_KIND_SERVICE, "shop/a"))
    assert service.backend.connect_timeout.seconds == 3
    assert [(one.field, one.object.name) for one in service.backend.origins] == [("timeouts.connect", "s")]


def test_a_route_of_another_namespace_is_a_consumer_route() -> None:
    consumer = (
        BASE.split("---")[2]
        .replace("namespace: shop", "namespace: team")
        .replace("name: a}", "name: a, namespace: shop}")
    )
    route = route_pb2.Route.FromString(body(world(consumer), resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/team/r"))
    assert [(one.service, one.consumer_namespace) for one in route.parents] == [("shop/a", "team")]
    assert route.rules[0].backends[0].invalid == "Service team/a does not exist"


def test_the_mesh_carries_the_tcp_ports_of_a_service_alone() -> None:
    dns = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: dns, namespace: shop}\n"
        "spec: {selector: {app: a}, ports: [{name: u, port: 53, targetPort: 9090, protocol: UDP}, "
        "{name: t, port: 53, targetPort: 8080}, {name: v, port: 54, targetPort: 9090, protocol: UDP}]}"
    )
    made = world(dns, policy("shop", ", targetRefs: [{kind: Service, name: dns}]"))
    service = service_pb2.Service.FromString(body(made, resource_pb2.RESOURCE_KIND_SERVICE, "shop/dns"))
    assert [(port.name, port.port) for port in service.ports] == [("t", 53)]
    places = endpoint_pb2.Endpoints.FromString(body(made, resource_pb2.RESOURCE_KIND_ENDPOINTS, "shop/dns"))
    assert [(group.port, [place.target_port for place in group.endpoints]) for group in places.ports] == [(53, [8080])]
    held = workload_pb2.Workload.FromString(body(made, resource_pb2.RESOURCE_KIND_WORKLOAD, "shop/a-1"))
    assert [list(one.ports) for one in held.policies] == [[8080]]
    assert [(port.port, port.service) for port in held.ports] == [(8080, "shop/a"), (9090, "")]


@pytest.mark.parametrize(
    ("address", "inbound", "said"),
    [
        ("127.0.0.1", "127.0.0.1:15006", 1),
        ("10.0.0.7", "127.0.0.1:15006", 1),
        ("127.0.0.1", "0.0.0.0:15006", 0),  # each has its machine alone: a pod
    ],
)
def test_two_workloads_share_no_listener_of_one_machine(address: str, inbound: str, said: int) -> None:
    workload = (
        "apiVersion: plait.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {0}, namespace: shop}}\n"
        f"spec: {{{{address: {address}, sidecar: {{{{inbound: '{inbound}'}}}}}}}}"
    )
    problems = check(world(workload.format("b-1"), workload.format("b-2")))
    assert len([problem for problem in problems if "is taken by" in problem.message]) == said
