"""plait-proxy for a benchmark run: its configuration as contract messages in a file.

Called by contenders.py and groups.py; integration/protocols makes its mesh from the same messages.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certificates import DOMAIN
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from plait_sdk.contracts import (
    discovery_pb2,
    endpoint_pb2,
    mesh_pb2,
    plugin_pb2,
    policy_pb2,
    resource_pb2,
    route_pb2,
    service_pb2,
    workload_pb2,
)
from protocol import Protocol

ORIGIN = "bench/origin"
PORT = 80
"""Of every Service."""
DECLARED = {
    Protocol.HTTP: workload_pb2.PROTOCOL_HTTP,
    Protocol.WEBSOCKET: workload_pb2.PROTOCOL_HTTP,
    Protocol.GRPC: workload_pb2.PROTOCOL_HTTP2,
    Protocol.TCP: workload_pb2.PROTOCOL_TCP,
}


def hop(folder: Path, root: bytes, ports: tuple[int, int], origins: list[int], protocol: Protocol) -> list[str]:
    """`ports`: where the application calls, and one that nobody calls."""
    side = Caller(*ports, [plaintext(origin) for origin in origins], protocol)
    return command(folder, f"hop-{protocol}", caller(root, side), "caller")


def pair(
    folder: Path, root: bytes, ports: tuple[int, int, int], origins: list[int], protocol: Protocol
) -> list[list[str]]:
    """`ports`: where the application calls, where the called side listens, and one that nobody calls."""
    outer, inner, unused = ports
    side = Caller(outer, unused, [sidecar(inner, origins[0])], protocol)
    return [
        command(folder, f"called-{protocol}", called(root, inner, origins[0], protocol), "called"),
        command(folder, f"caller-{protocol}", caller(root, side), "caller"),
    ]


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


@dataclass(frozen=True)
class Attached:
    """A Plugin of the wheel of this digest. `service`: whose calls pass it, "namespace/name"."""

    entry: str
    digest: str
    config: str = "{}"
    service: str = ORIGIN


@dataclass(frozen=True)
class Caller:
    """The side of the client: `port` is where its application calls, `inbound` where nobody does."""

    port: int
    inbound: int
    endpoints: list[endpoint_pb2.Endpoint]
    protocol: Protocol = Protocol.HTTP
    routes: int = 1
    services: tuple[str, ...] = ()
    filters: tuple[route_pb2.Filter, ...] = ()
    plugins: tuple[Attached, ...] = ()


def caller(root: bytes, side: Caller) -> bytes:
    """One workload, one Service with `routes` rules, its endpoints; and `services` that nobody calls."""
    address = f"127.0.0.1:{side.port}"
    workload = workload_pb2.Workload(
        namespace="bench",
        name="caller",
        service_account="caller",
        address="127.0.0.1",
        inbound=f"127.0.0.1:{side.inbound}",
    )
    # Bytes say not whom they are for: a port of their own does.
    if side.protocol is Protocol.TCP:
        workload.binds.add(listen=address, destination=ORIGIN, port=PORT, authority=f"origin:{PORT}")
    else:
        workload.outbound = address
    named = {f"bench/plugin-{number}": attached for number, attached in enumerate(side.plugins)}
    for name, attached in named.items():
        workload.outbound_plugins.add(name=name, scopes=[workload_pb2.CallScope(service=attached.service)])
    upserts = [
        mesh(root),
        *(plugin(name, attached) for name, attached in named.items()),
        resource(resource_pb2.RESOURCE_KIND_WORKLOAD, "bench/caller", workload),
        *service(ORIGIN, side.protocol, side.endpoints),
    ]
    if side.protocol is not Protocol.TCP:
        rules = route(side.routes, side.filters)
        upserts.append(resource(resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/bench/origin", rules))
    for name in side.services:
        upserts += service(f"bench/{name}", side.protocol, side.endpoints)
    known = [ORIGIN, *(f"bench/{name}" for name in side.services)]
    return discovery_pb2.ChangeSet(nonce=1, generation=1, upserts=upserts, known=known).SerializeToString()


def plugin(name: str, attached: Attached) -> resource_pb2.Resource:
    """One whose time is not over when the machine is busy."""
    body = plugin_pb2.Plugin(
        object=resource_pb2.ObjectRef(kind="Plugin", namespace="bench", name=name.partition("/")[2]),
        package="plait-bench-filters",
        entry_point=attached.entry,
        digest=attached.digest,
        config=attached.config,
        deadline=Duration(seconds=2),
        memory_bytes=256 << 20,
        body_bytes=1 << 20,
        on_error=plugin_pb2.FAILURE_POLICY_CLOSED,
        on_timeout=plugin_pb2.FAILURE_POLICY_CLOSED,
        on_load_failure=plugin_pb2.FAILURE_POLICY_CLOSED,
        group="bench/default",
    )
    return resource(resource_pb2.RESOURCE_KIND_PLUGIN, name, body)


def traffic() -> service_pb2.CallTraffic:
    retries = service_pb2.Retries(codes=[503], attempts=1, backoff=Duration(nanos=25_000_000))
    return service_pb2.CallTraffic(request_timeout=Duration(seconds=15), retries=retries)


def service(key: str, protocol: Protocol, endpoints: list[endpoint_pb2.Endpoint]) -> list[resource_pb2.Resource]:
    namespace, name = key.split("/")
    port = service_pb2.ServicePort(name="main", port=PORT, protocol=DECLARED[protocol])
    # Bytes have neither a time limit nor a second try.
    calls = None if protocol is Protocol.TCP else traffic()
    body = service_pb2.Service(namespace=namespace, name=name, ports=[port], calls=calls)
    places = endpoint_pb2.Endpoints(service=key, ports=[endpoint_pb2.PortEndpoints(port=PORT, endpoints=endpoints)])
    return [
        resource(resource_pb2.RESOURCE_KIND_SERVICE, key, body),
        resource(resource_pb2.RESOURCE_KIND_ENDPOINTS, key, places),
    ]


def route(rules: int, filters: Sequence[route_pb2.Filter] = ()) -> route_pb2.Route:
    """The last of the rules is the one that is asked for."""
    backend = route_pb2.Backend(service=ORIGIN, port=PORT, weight=1)
    return route_pb2.Route(
        object=resource_pb2.ObjectRef(kind="HTTPRoute", namespace="bench", name="origin"),
        parents=[route_pb2.RouteParent(service=ORIGIN)],
        rules=[
            route_pb2.RouteRule(
                matches=[route_pb2.RouteMatch(path=route_pb2.PathMatch(type=route_pb2.MATCH_TYPE_PREFIX, value=value))],
                filters=filters,
                backends=[backend],
                traffic=traffic(),
            )
            for value in [*(f"/route-{number}" for number in range(rules - 1)), "/"]
        ],
    )


def called(root: bytes, inbound: int, process: int, protocol: Protocol) -> bytes:
    """The side of the origin: one workload with a policy that allows the caller alone."""
    source = policy_pb2.PolicySource(identities=[identity("caller")])
    policy = policy_pb2.Policy(
        object=resource_pb2.ObjectRef(kind="AuthorizationPolicy", namespace="bench", name="callers"),
        action=policy_pb2.POLICY_ACTION_ALLOW,
        rules=[policy_pb2.PolicyRule(**{"from": [source]})],
    )
    port = workload_pb2.WorkloadPort(name="main", port=process, protocol=DECLARED[protocol], service=ORIGIN)
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


def command(folder: Path, name: str, resources: bytes, account: str, *more: str) -> list[str]:
    """`more`: options of `plait-proxy run`."""
    path = folder / f"{name}.resources"
    path.write_bytes(resources)
    admin = folder / f"{name}.sock"
    return [
        "plait-proxy", "run", "--resources", str(path), "--admin", str(admin), "--identity-dir", str(folder / account),
        *more,
    ]  # fmt: skip
