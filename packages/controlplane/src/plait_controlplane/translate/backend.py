"""TrafficPolicies of a Service as a chosen backend: how its endpoints are chosen and called. Levels: `traffic`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from plait_sdk.contracts import service_pb2, workload_pb2

from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import HashOn, SuccessRate, TrafficPolicy
from plait_controlplane.translate.healthcheck import health_check
from plait_controlplane.translate.names import duration
from plait_controlplane.translate.session import session_affinity
from plait_controlplane.translate.traffic import Target, first, layers

ALGORITHMS = {
    "PeakEWMA": service_pb2.ALGORITHM_PEAK_EWMA,
    "LeastRequest": service_pb2.ALGORITHM_LEAST_REQUEST,
    "RoundRobin": service_pb2.ALGORITHM_ROUND_ROBIN,
    "Random": service_pb2.ALGORITHM_RANDOM,
    "RingHash": service_pb2.ALGORITHM_RING_HASH,
    "Maglev": service_pb2.ALGORITHM_MAGLEV,
}
OUTLIERS: dict[str, Any] = {
    "consecutiveFailures": 5,
    "baseEjection": timedelta(seconds=10),
    "maxEjectedPercent": 50,
    "successRate": None,
}
"""What outlierDetection says where no policy does; each is merged on its own."""
HASHING = ("RingHash", "Maglev")
PENDING = 1024
"""Requests that may wait for a connection where nobody says how many."""


def backend_traffic(found: list[TrafficPolicy], namespace: str, service: str) -> service_pb2.BackendTraffic:
    """How a Service behaves as a chosen backend."""
    chain = list(layers(found, [Target(namespace, "Service", service)], namespace))
    message = service_pb2.BackendTraffic()
    _load_balancer(chain, message)
    _outlier_detection(chain, message)
    health_check(chain, namespace, service, message)
    limit, origins = _connections(chain)
    if limit:
        message.connections.CopyFrom(limit)
        message.origins.extend(origins)
    affinity = first(chain, "sessionAffinity")
    if affinity:
        message.session_affinity.CopyFrom(session_affinity(affinity[0], f"{namespace}/{service}"))
        message.origins.append(affinity[1])
    most = first(chain, "connections.maxRequests")
    if most:
        message.max_requests = most[0]
        message.origins.append(most[1])
    for name, target in (("connect", message.connect_timeout), ("idle", message.idle_timeout)):
        value = first(chain, f"timeouts.{name}")
        if value:
            target.CopyFrom(duration(value[0]))
            message.origins.append(value[1])
    return message


def connection_limit(found: list[TrafficPolicy], namespace: str, service: str) -> workload_pb2.ConnectionLimit | None:
    """What limits the connections of the proxy beside a process of the Service."""
    return _connections(list(layers(found, [Target(namespace, "Service", service)], namespace)))[0]


def _connections(
    chain: list[TrafficPolicy],
) -> tuple[workload_pb2.ConnectionLimit | None, list[service_pb2.Origin]]:
    most = first(chain, "connections.max")
    if not most:
        return None, []
    pending = first(chain, "connections.maxPending")
    limit = workload_pb2.ConnectionLimit(
        max=most[0], max_pending=pending[0] if pending else PENDING, object=most[1].object
    )
    return limit, [most[1], *([pending[1]] if pending else [])]


def _load_balancer(chain: list[TrafficPolicy], message: service_pb2.BackendTraffic) -> None:
    zones = first(chain, "loadBalancer.zoneAware")
    if zones and zones[0].enabled:
        message.load_balancer.zone_aware.min_endpoints = zones[0].min_endpoints
        message.origins.append(zones[1])
    algorithm = first(chain, "loadBalancer.algorithm")
    if algorithm:
        message.load_balancer.algorithm = ALGORITHMS[algorithm[0]]
        message.origins.append(algorithm[1])
    hashes = algorithm is not None and algorithm[0] in HASHING
    hash_on = first(chain, "loadBalancer.hashOn")
    if hash_on and hashes:
        message.load_balancer.hash_on.CopyFrom(_hash_on(hash_on[0]))
        message.origins.append(hash_on[1])
    window = first(chain, "loadBalancer.slowStart.window")
    if window and not hashes:
        message.load_balancer.slow_start.CopyFrom(duration(window[0]))
        message.origins.append(window[1])


def _hash_on(value: HashOn) -> service_pb2.HashOn:
    if value.header is not None:
        return service_pb2.HashOn(header=value.header.lower())
    if value.cookie is not None:
        return service_pb2.HashOn(cookie=value.cookie)
    caller = service_pb2.CALLER_ADDRESS if value.address is not None else service_pb2.CALLER_IDENTITY
    return service_pb2.HashOn(caller=caller)


def _outlier_detection(chain: list[TrafficPolicy], message: service_pb2.BackendTraffic) -> None:
    whole = first(chain, "outlierDetection")
    if whole is None:
        return
    made = message.outlier_detection
    settings = {field: one for field in OUTLIERS if (one := first(chain, f"outlierDetection.{field}")) is not None}
    values = OUTLIERS | {field: value for field, (value, _) in settings.items()}
    made.consecutive_failures = values["consecutiveFailures"]
    made.base_ejection.CopyFrom(duration(values["baseEjection"]))
    made.max_ejected_percent = values["maxEjectedPercent"]
    rate: SuccessRate | None = values["successRate"]
    if rate:
        made.success_rate.min_percent = rate.min_percent
        made.success_rate.min_requests = rate.min_requests
        made.success_rate.interval.CopyFrom(duration(rate.interval))
    # A policy that says no more than "{}" is named as a whole.
    message.origins.extend([origin for _, origin in settings.values()] or [whole[1]])


def check_backend(stored: StoredObject, policy: TrafficPolicy) -> Iterator[Problem]:
    """What is documented and not honoured yet is refused; what has no effect is told."""
    balancer = policy.spec.load_balancer
    if balancer is None:
        return
    if balancer.hash_on and balancer.algorithm not in (None, *HASHING):
        message = f"{balancer.algorithm} does not hash: hashOn has no effect; write algorithm {' or '.join(HASHING)}"
        yield stored.problem(("spec", "loadBalancer", "hashOn"), message)
    if balancer.slow_start and balancer.algorithm in HASHING:
        message = f"{balancer.algorithm} hashes: slowStart has no effect; remove it, or write another algorithm"
        yield stored.problem(("spec", "loadBalancer", "slowStart"), message)
