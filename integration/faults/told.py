"""What the sidecars of the rig are told, as messages of the contract: by its control plane, and in a file.

Called by the rig. Knows where everything is, and starts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import certificates
import ours
from gates import Gate
from google.protobuf.duration_pb2 import Duration
from mesh import policies
from plait_sdk.contracts import (
    discovery_pb2,
    endpoint_pb2,
    mesh_pb2,
    resource_pb2,
    service_pb2,
    workload_pb2,
)

HERE = "127.0.0.1"
SERVICES = {"alpha": (80, workload_pb2.PROTOCOL_HTTP), "beta": (50051, workload_pb2.PROTOCOL_HTTP2)}
"""Port and protocol."""


@dataclass(frozen=True)
class Far:
    """Another machine: some places have their sidecar there, and callers dial it without a gate.

    `prefix` runs a command there; `address` is its own, `host` is ours as it sees us.
    """

    places: Sequence[str]
    prefix: Sequence[str]
    address: str
    host: str


@dataclass(frozen=True)
class Place:
    """A workload with its process. `gate`: where callers dial it unless it is far; `sidecar`: where its own listens."""

    name: str
    service: str
    process: int
    sidecar: int
    gate: Gate
    far: Far | None = None


def at_once(upserts: Sequence[resource_pb2.Resource]) -> bytes:
    """All that a sidecar will ever be told."""
    return discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts).SerializeToString()


def caller(root: bytes, binds: Mapping[str, int], inbound: int) -> list[resource_pb2.Resource]:
    """The workload that calls, with a local port for each Service."""
    ports = [
        workload_pb2.Bind(listen=f"{HERE}:{binds[name]}", destination=f"bench/{name}", port=port, authority=name)
        for name, (port, _) in SERVICES.items()
    ]
    workload = workload_pb2.Workload(
        namespace="bench",
        name="caller",
        service_account="caller",
        address=HERE,
        inbound=f"{HERE}:{inbound}",
        binds=ports,
    )
    return [mesh(root), of_workload(workload)]


def called(root: bytes, places: Sequence[Place]) -> list[resource_pb2.Resource]:
    """Places as their own sidecar knows them: the caller alone may call them."""
    return [mesh(root), *policies(), *(of_workload(workload(place)) for place in places)]


def services(backend: service_pb2.BackendTraffic, calls: service_pb2.CallTraffic) -> list[resource_pb2.Resource]:
    """Both Services."""
    found = []
    for name, (port, protocol) in SERVICES.items():
        ports = [service_pb2.ServicePort(name="main", port=port, protocol=protocol)]
        body = service_pb2.Service(namespace="bench", name=name, ports=ports, backend=backend, calls=calls)
        found.append(ours.resource(resource_pb2.RESOURCE_KIND_SERVICE, f"bench/{name}", body))
    return found


def endpoints(places: Sequence[Place]) -> list[resource_pb2.Resource]:
    """Where both Services are to be found."""
    found = []
    for name, (port, _) in SERVICES.items():
        there = [endpoint(place) for place in places if place.service == name]
        ports = [endpoint_pb2.PortEndpoints(port=port, endpoints=there)]
        body = endpoint_pb2.Endpoints(service=f"bench/{name}", ports=ports)
        found.append(ours.resource(resource_pb2.RESOURCE_KIND_ENDPOINTS, f"bench/{name}", body))
    return found


def milliseconds(count: int) -> Duration:
    """A duration of the contract."""
    return Duration(seconds=count // 1000, nanos=count % 1000 * 1_000_000)


def endpoint(place: Place) -> endpoint_pb2.Endpoint:
    """A place as callers are told of it."""
    return endpoint_pb2.Endpoint(
        workload=f"bench/{place.name}",
        address=f"{place.far.address}:{place.sidecar}" if place.far else f"{HERE}:{place.gate.port}",
        identity=ours.identity(place.service),
        server_name=f"{place.name}.bench.{certificates.DOMAIN}",
        target_port=place.process,
    )


def workload(place: Place) -> workload_pb2.Workload:
    """A place as its own sidecar knows it."""
    port = workload_pb2.WorkloadPort(
        name="main", port=place.process, protocol=SERVICES[place.service][1], service=f"bench/{place.service}"
    )
    return workload_pb2.Workload(
        namespace="bench",
        name=place.name,
        service_account=place.service,
        address=place.far.host if place.far else HERE,
        inbound=f"{place.far.address if place.far else HERE}:{place.sidecar}",
        ports=[port],
        policies=[workload_pb2.PolicyRef(name="bench/callers")],
    )


def mesh(root: bytes) -> resource_pb2.Resource:
    """That of a benchmark, with a log of what went wrong."""
    body = mesh_pb2.Mesh()
    body.ParseFromString(ours.mesh(root).body)
    log = mesh_pb2.AccessLog(format=mesh_pb2.ACCESS_LOG_FORMAT_JSON, filter=mesh_pb2.ACCESS_LOG_FILTER_ERRORS)
    body.access_log.CopyFrom(log)
    return ours.resource(resource_pb2.RESOURCE_KIND_MESH, "default", body)


def of_workload(body: workload_pb2.Workload) -> resource_pb2.Resource:
    return ours.resource(resource_pb2.RESOURCE_KIND_WORKLOAD, f"bench/{body.name}", body)
