"""How a Service behaves as a chosen backend: what wins, and what travels."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_sdk.contracts import resource_pb2, service_pb2, workload_pb2

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
"""
TARGETS = {"service": "{kind: Service, name: a}", "namespace": "{kind: Namespace, name: shop}"}


def backend(**policies: str) -> dict[str, Any]:
    """What the Service's callers are told, by fields of the policy on each level."""
    documents = [
        "apiVersion: plait.dev/v1alpha1\nkind: TrafficPolicy\n"
        f"metadata: {{name: {level}, namespace: shop}}\nspec: {{targetRefs: [{TARGETS[level]}], {fields}}}"
        for level, fields in policies.items()
    ]
    found, problems = read("test.yaml", "\n---\n".join([SERVICE, *documents]))
    assert problems == []
    kind, name = resource_pb2.RESOURCE_KIND_SERVICE, "shop/a"
    made = next(one for one in offline(world_of(found)[0]).resources if (one.kind, one.name) == (kind, name))
    told: dict[str, Any] = MessageToDict(service_pb2.Service.FromString(made.body).backend)
    told["origins"] = [(one["field"], one["object"]["name"]) for one in told.pop("origins", [])]
    return told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("header: X-User", {"header": "x-user"}),
        ("cookie: Sid", {"cookie": "Sid"}),
        ("address: {}", {"caller": "CALLER_ADDRESS"}),
        ("identity: {}", {"caller": "CALLER_IDENTITY"}),
    ],
)
@pytest.mark.parametrize(("name", "number"), [("RingHash", "ALGORITHM_RING_HASH"), ("Maglev", "ALGORITHM_MAGLEV")])
def test_what_is_hashed_travels(written: str, told: dict[str, str], name: str, number: str) -> None:
    made = backend(service=f"loadBalancer: {{algorithm: {name}, hashOn: {{{written}}}}}")
    assert made["loadBalancer"] == {"algorithm": number, "hashOn": told}
    assert made["origins"] == [("loadBalancer.algorithm", "service"), ("loadBalancer.hashOn", "service")]


def test_algorithm_and_what_is_hashed_merge_apart() -> None:
    hashed = "loadBalancer: {hashOn: {cookie: sid}}"
    made = backend(service="loadBalancer: {algorithm: Maglev}", namespace=hashed)
    assert made["loadBalancer"]["hashOn"] == {"cookie": "sid"}
    assert made["origins"] == [("loadBalancer.algorithm", "service"), ("loadBalancer.hashOn", "namespace")]
    unused = backend(service="loadBalancer: {algorithm: Random}", namespace=hashed)
    assert unused["loadBalancer"] == {"algorithm": "ALGORITHM_RANDOM"}
    assert unused["origins"] == [("loadBalancer.algorithm", "service")]


@pytest.mark.parametrize(
    ("policies", "told", "origins"),
    [
        (
            {"service": "{}"},
            {"consecutiveFailures": 5, "baseEjection": "10s", "maxEjectedPercent": 50},
            [("outlierDetection", "service")],
        ),
        (
            {"service": "{consecutiveFailures: 3}", "namespace": "{consecutiveFailures: 7, baseEjection: 1m}"},
            {"consecutiveFailures": 3, "baseEjection": "60s", "maxEjectedPercent": 50},
            [("outlierDetection.consecutiveFailures", "service"), ("outlierDetection.baseEjection", "namespace")],
        ),
        (
            {"service": "{consecutiveFailures: 0, maxEjectedPercent: 10, successRate: {minPercent: 80}}"},
            {
                "baseEjection": "10s",
                "maxEjectedPercent": 10,
                "successRate": {"minPercent": 80, "minRequests": 20, "interval": "10s"},
            },
            [
                ("outlierDetection.consecutiveFailures", "service"),
                ("outlierDetection.maxEjectedPercent", "service"),
                ("outlierDetection.successRate", "service"),
            ],
        ),
    ],
)
def test_outlier_detection_merges_field_by_field(
    policies: dict[str, str], told: dict[str, Any], origins: list[tuple[str, str]]
) -> None:
    made = backend(**{level: f"outlierDetection: {fields}" for level, fields in policies.items()})
    assert made["outlierDetection"] == told
    assert made["origins"] == origins


def test_without_a_word_of_it_there_is_no_outlier_detection() -> None:
    assert "outlierDetection" not in backend(service="loadBalancer: {algorithm: Random}")


def test_the_nearest_limit_of_requests_travels() -> None:
    limit = "connections: {{maxRequests: {}}}"
    made = backend(service=limit.format(7), namespace=limit.format(9))
    assert (made["maxRequests"], made["origins"]) == (7, [("connections.maxRequests", "service")])


# Every default of healthCheck, as it travels.
EVERY = {
    "interval": "10s",
    "timeout": "1s",
    "unhealthyThreshold": 3,
    "healthyThreshold": 2,
    "minHealthyPercent": 50,
}


@pytest.mark.parametrize(
    ("policies", "told", "origins"),
    [
        ({"service": "{}"}, EVERY | {"tcp": {}}, [("healthCheck", "service")]),
        (
            {"service": "{http: {path: '/ready?deep=1'}}"},
            EVERY | {"http": {"path": "/ready?deep=1", "host": "a.shop", "expectedStatuses": [200]}},
            [("healthCheck.http", "service")],
        ),
        (
            {"service": "{http: {path: /, host: 'b:8080', expectedStatuses: [200, 204]}, unhealthyThreshold: 1}"},
            EVERY | {"unhealthyThreshold": 1, "http": {"path": "/", "host": "b:8080", "expectedStatuses": [200, 204]}},
            [("healthCheck.unhealthyThreshold", "service"), ("healthCheck.http", "service")],
        ),
        (
            {"service": "{grpc: {}}", "namespace": "{tcp: {}, interval: 1m, timeout: 250ms}"},
            EVERY | {"interval": "60s", "timeout": "0.250s", "grpc": {}},
            [
                ("healthCheck.interval", "namespace"),
                ("healthCheck.timeout", "namespace"),
                ("healthCheck.grpc", "service"),
            ],
        ),
        (
            {"service": "{minHealthyPercent: 0, healthyThreshold: 1}", "namespace": "{grpc: {service: shop.v1.Cart}}"},
            {field: value for field, value in EVERY.items() if field != "minHealthyPercent"}
            | {"healthyThreshold": 1, "grpc": {"service": "shop.v1.Cart"}},
            [
                ("healthCheck.healthyThreshold", "service"),
                ("healthCheck.minHealthyPercent", "service"),
                ("healthCheck.grpc", "namespace"),
            ],
        ),
    ],
)
def test_health_checks_merge_field_by_field(
    policies: dict[str, str], told: dict[str, Any], origins: list[tuple[str, str]]
) -> None:
    made = backend(**{level: f"healthCheck: {fields}" for level, fields in policies.items()})
    assert made["healthCheck"] == told
    assert made["origins"] == origins


def test_a_slow_start_travels_whatever_the_algorithm_unless_it_hashes() -> None:
    slow = "loadBalancer: {slowStart: {window: 90s}}"
    made = backend(namespace=slow)
    assert (made["loadBalancer"], made["origins"]) == (
        {"slowStart": "90s"},
        [("loadBalancer.slowStart.window", "namespace")],
    )
    made = backend(service="loadBalancer: {algorithm: RoundRobin}", namespace=slow)
    assert made["loadBalancer"] == {"algorithm": "ALGORITHM_ROUND_ROBIN", "slowStart": "90s"}
    made = backend(service="loadBalancer: {algorithm: Maglev}", namespace=slow)
    assert made["loadBalancer"] == {"algorithm": "ALGORITHM_MAGLEV"}


def test_the_nearest_limit_of_connections_travels_with_who_set_it() -> None:
    made = backend(service="connections: {maxPending: 7}", namespace="connections: {max: 3, maxPending: 9}")
    assert (made["connections"]["max"], made["connections"]["maxPending"]) == (3, 7)
    assert made["connections"]["object"]["name"] == "namespace"
    assert made["origins"] == [("connections.max", "namespace"), ("connections.maxPending", "service")]


def test_some_may_wait_where_nobody_says_how_many_and_nobody_where_none_may() -> None:
    assert backend(service="connections: {max: 3}")["connections"]["maxPending"] == 1024
    assert "maxPending" not in backend(service="connections: {max: 3, maxPending: 0}")["connections"]
    assert "connections" not in backend(service="connections: {maxPending: 3}")


def test_the_proxy_beside_a_process_is_told_the_limit_too() -> None:
    policy = (
        "apiVersion: plait.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: calm, namespace: shop}\n"
        "spec: {targetRefs: [{kind: Service, name: a}], connections: {max: 3, maxPending: 4}}"
    )
    workload = (
        "apiVersion: plait.dev/v1alpha1\nkind: Workload\nmetadata: {name: a-1, namespace: shop, labels: {app: a}}\n"
        "spec: {serviceAccount: a, address: 127.0.0.1, ports: [{name: http, port: 80}, {name: admin, port: 81}]}"
    )
    found, problems = read("test.yaml", "\n---\n".join([SERVICE, policy, workload]))
    assert problems == []
    key = (resource_pb2.RESOURCE_KIND_WORKLOAD, "shop/a-1")
    made = next(one for one in offline(world_of(found)[0]).resources if (one.kind, one.name) == key)
    http, admin = workload_pb2.Workload.FromString(made.body).ports
    assert (http.connections.max, http.connections.max_pending, http.connections.object.name) == (3, 4, "calm")
    assert not admin.HasField("connections")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("cookie: {}", {"cookie": {"name": "plait-8585119b", "path": "/"}}),
        ("cookie: {name: sid, path: /cart, ttl: 1h}", {"cookie": {"name": "sid", "path": "/cart"}, "ttl": "3600s"}),
        ("header: {name: X-Session}", {"header": "x-session"}),
        ("header: {name: X-Session, ttl: 30s}", {"header": "x-session", "ttl": "30s"}),
    ],
)
def test_what_carries_a_session_travels(written: str, told: dict[str, Any]) -> None:
    made = backend(service=f"sessionAffinity: {{{written}}}")
    assert made["sessionAffinity"] == told
    assert made["origins"] == [("sessionAffinity", "service")]


def test_zones_are_looked_at_where_the_nearest_policy_says_so() -> None:
    made = backend(namespace="loadBalancer: {zoneAware: {}}")
    assert made["loadBalancer"]["zoneAware"] == {"minEndpoints": 1}
    assert made["origins"] == [("loadBalancer.zoneAware", "namespace")]
    off = backend(service="loadBalancer: {zoneAware: {enabled: false}}", namespace="loadBalancer: {zoneAware: {}}")
    assert "loadBalancer" not in off
