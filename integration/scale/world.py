"""The objects of a large cluster: Services, their pods and endpoints. Pure; used by `at_scale`."""

import ipaddress
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

NAMESPACE = "scale"
ACCOUNT = "app"
PODS_A_SERVICE = 5
NODES = 20
CLUSTER_IPS = ipaddress.ip_address("10.96.0.1")
POD_IPS = ipaddress.ip_address("10.128.0.1")


def service_name(number: int) -> str:
    """Of a Service, from 0."""
    return f"s{number:04}"


def pod_name(service: int, place: int) -> str:
    """Of a pod of a Service."""
    return f"{service_name(service)}-{place}"


def objects(services: int) -> Iterator[Object]:
    """All of them, pods before the slices that name them."""
    for number in range(NODES):
        labels = {"topology.kubernetes.io/zone": f"z{number % 3}"}
        yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}", "labels": labels}}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for number in range(services):
        yield service(number)
        for place in range(PODS_A_SERVICE):
            yield pod(number, place)
        yield endpoint_slice(number)


def service(number: int) -> Object:
    """A Service of HTTP."""
    spec = {
        "clusterIPs": [str(CLUSTER_IPS + number)],
        "selector": {"app": service_name(number)},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(service_name(number)), "spec": spec}


def pod(number: int, place: int) -> Object:
    """A pod with a sidecar."""
    labels = {"app": service_name(number), "plait.dev/injected": "true"}
    index = number * PODS_A_SERVICE + place
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta(pod_name(number, place), labels=labels),
        "spec": {"nodeName": f"n{index % NODES}", "serviceAccountName": ACCOUNT, "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": str(POD_IPS + index)},
    }


def endpoint_slice(number: int, without: int | None = None) -> Object:
    """The slice of a Service; the place `without` is not ready."""
    endpoints = [
        {
            "addresses": [str(POD_IPS + number * PODS_A_SERVICE + place)],
            "conditions": {"ready": place != without, "serving": place != without, "terminating": False},
            "targetRef": {"kind": "Pod", "name": pod_name(number, place)},
        }
        for place in range(PODS_A_SERVICE)
    ]
    labels = {"kubernetes.io/service-name": service_name(number)}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _meta(f"{service_name(number)}-x", labels=labels),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def route(number: int, weight: int) -> Object:
    """A route that splits calls of a Service between itself and the next one."""
    backends = [
        {"name": service_name(number), "port": 80, "weight": weight},
        {"name": service_name(number + 1), "port": 80, "weight": 100 - weight},
    ]
    parents = [{"group": "", "kind": "Service", "name": service_name(number)}]
    spec = {"parentRefs": parents, "rules": [{"backendRefs": backends}]}
    version = "gateway.networking.k8s.io/v1"
    return {"apiVersion": version, "kind": "HTTPRoute", "metadata": _meta(f"r{number}"), "spec": spec}


def _meta(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": NAMESPACE, **more}
