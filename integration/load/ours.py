"""plait-proxy for a benchmark run: its configuration as contract messages in a file. Called by bench.py."""

import hashlib
from pathlib import Path

from certificates import DOMAIN
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from plait_sdk.contracts import (
    discovery_pb2,
    endpoint_pb2,
    mesh_pb2,
    policy_pb2,
    resource_pb2,
    route_pb2,
    service_pb2,
    workload_pb2,
)

ORIGIN = "bench/origin"


def resource(kind: int, name: str, body: Message) -> resource_pb2.Resource:
    data = body.SerializeToString(deterministic=True)
    return resource_pb2.Resource(kind=kind, name=name, version=hashlib.sha256(data).digest()[:16], body=data)


def identity(account: str) -> str:
    return f"spiffe://{DOMAIN}/ns/bench/sa/{account}"


def mesh(root: bytes) -> resource_pb2.Resource:
    body = mesh_pb2.Mesh(
        trust_domain=DOMAIN,
        mtls_mode=mesh_pb2.MTLS_MODE_STRICT,
        default_policy=mesh_pb2.DEFAULT_POLICY_ALLOW_AUTHENTICATED,
        egress=mesh_pb2.EGRESS_DENY,
        access_log=mesh_pb2.AccessLog(format=mesh_pb2.ACCESS_LOG_FORMAT_OFF),
        trust_bundle=[root],
    )
    return resource(resource_pb2.RESOURCE_KIND_MESH, "default", body)


def caller(root: bytes, outbound: int, inbound: int, endpoints: list[endpoint_pb2.Endpoint], routes: int) -> bytes:
    """The side of the client: one workload, one Service with `routes` rules, its endpoints."""
    workload = workload_pb2.Workload(
        namespace="bench",
        name="caller",
        service_account="caller",
        address="127.0.0.1",
        inbound=f"127.0.0.1:{inbound}",
        outbound=f"127.0.0.1:{outbound}",
    )
    retries = service_pb2.Retries(codes=[503], attempts=1, backoff=Duration(nanos=25_000_000))
    traffic = service_pb2.CallTraffic(request_timeout=Duration(seconds=15), retries=retries)
    port = service_pb2.ServicePort(name="http", port=80, protocol=workload_pb2.PROTOCOL_HTTP)
    service = service_pb2.Service(namespace="bench", name="origin", ports=[port], calls=traffic)
    backend = route_pb2.Backend(service=ORIGIN, port=80, weight=1)
    rules = [
        route_pb2.RouteRule(
            matches=[route_pb2.RouteMatch(path=route_pb2.PathMatch(type=route_pb2.MATCH_TYPE_PREFIX, value=value))],
            backends=[backend],
            traffic=traffic,
        )
        for value in [*(f"/route-{number}" for number in range(routes - 1)), "/"]
    ]
    route = route_pb2.Route(
        object=resource_pb2.ObjectRef(kind="HTTPRoute", namespace="bench", name="origin"),
        parents=[route_pb2.RouteParent(service=ORIGIN)],
        rules=rules,
    )
    places = endpoint_pb2.Endpoints(service=ORIGIN, ports=[endpoint_pb2.PortEndpoints(port=80, endpoints=endpoints)])
    upserts = [
        mesh(root),
        resource(resource_pb2.RESOURCE_KIND_WORKLOAD, "bench/caller", workload),
        resource(resource_pb2.RESOURCE_KIND_SERVICE, ORIGIN, service),
        resource(resource_pb2.RESOURCE_KIND_ENDPOINTS, ORIGIN, places),
        resource(resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/bench/origin", route),
    ]
    changes = discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts, known=[ORIGIN])
    return changes.SerializeToString()


def called(root: bytes, inbound: int, process: int) -> bytes:
    """The side of the origin: one workload with a policy that allows the caller alone."""
    source = policy_pb2.PolicySource(identities=[identity("caller")])
    policy = policy_pb2.Policy(
        object=resource_pb2.ObjectRef(kind="AuthorizationPolicy", namespace="bench", name="callers"),
        action=policy_pb2.POLICY_ACTION_ALLOW,
        rules=[policy_pb2.PolicyRule(**{"from": [source]})],
    )
    port = workload_pb2.WorkloadPort(name="http", port=process, protocol=workload_pb2.PROTOCOL_HTTP, service=ORIGIN)
    workload = workload_pb2.Workload(
        namespace="bench",
        name="called",
        service_account="called",
        address="127.0.0.1",
        inbound=f"127.0.0.1:{inbound}",
        ports=[port],
        policies=[workload_pb2.PolicyRef(name="bench/callers", ports=[process])],
    )
    upserts = [
        mesh(root),
        resource(resource_pb2.RESOURCE_KIND_WORKLOAD, "bench/called", workload),
        resource(resource_pb2.RESOURCE_KIND_POLICY, "bench/callers", policy),
    ]
    return discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts).SerializeToString()


def plaintext(port: int) -> endpoint_pb2.Endpoint:
    return endpoint_pb2.Endpoint(workload=f"bench/plain-{port}", address=f"127.0.0.1:{port}", target_port=port)


def sidecar(inbound: int, process: int) -> endpoint_pb2.Endpoint:
    return endpoint_pb2.Endpoint(
        workload="bench/called",
        address=f"127.0.0.1:{inbound}",
        identity=identity("called"),
        server_name=f"called.bench.{DOMAIN}",
        target_port=process,
    )


def command(folder: Path, name: str, resources: bytes, account: str) -> list[str]:
    path = folder / f"{name}.resources"
    path.write_bytes(resources)
    admin = folder / f"{name}.sock"
    return [
        "plait-proxy", "run", "--resources", str(path), "--admin", str(admin), "--identity-dir", str(folder / account),
    ]  # fmt: skip
