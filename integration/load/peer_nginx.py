"""nginx doing the same work as ours: one worker, a trace header, keep-alive; and as the origin of HTTP.

Called by contenders.py and bench.py.
"""

import shutil
from pathlib import Path

from certificates import DOMAIN
from protocol import Protocol

SERVER = f"called.bench.{DOMAIN}"
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
KEEP = "keepalive 1024; keepalive_requests 1000000000;"
FORWARD = {
    Protocol.HTTP: 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; '
    "proxy_set_header traceparent $request_id;",
    Protocol.WEBSOCKET: 'proxy_http_version 1.1; proxy_set_header Connection "upgrade"; '
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $host; proxy_set_header traceparent $request_id;",
    Protocol.GRPC: "grpc_set_header traceparent $request_id;",
}


def speaks(protocol: Protocol) -> bool:
    """The relay of bytes is a module of its own (Debian: libnginx-mod-stream)."""
    return shutil.which("nginx") is not None and (protocol is not Protocol.TCP or STREAM.exists())


def command(folder: Path, name: str, body: str) -> list[str]:
    """`body`: the blocks of the top level."""
    path = folder / f"{name}.conf"
    module = f"load_module {STREAM};\n" if body.startswith("stream") else ""
    path.write_text(
        f"{module}daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;\n"
        f"events {{ worker_connections 8192; }}\n{body}\n"
    )
    return ["nginx", "-c", str(path), "-e", "stderr"]


def http(folder: Path, name: str, body: str) -> list[str]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{name}-{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    keep = "keepalive_requests 1000000000; keepalive_timeout 600s;"
    return command(folder, name, f"http {{ access_log off; {keep} {temporary}\n{body}\n}}")


def origin(folder: Path, ports: list[int], files: Path) -> list[str]:
    """100 bytes for every path: under /tagged for those with a field x-tag alone, under /read once the body has come.

    What is under /big are files.
    """
    listen = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    answer = f'default_type text/plain; return 200 "{"0123456789" * 10}";'
    # Only what is passed on is read before it is answered.
    read = "client_body_buffer_size 256k; proxy_pass_request_body off; proxy_set_header Content-Length '';"
    read += " proxy_method GET; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://self/;"
    return http(
        folder,
        "origin",
        f"upstream self {{ server 127.0.0.1:{ports[0]}; keepalive 512; keepalive_requests 1000000000; }}\n"
        f"server {{ {listen} sendfile on; location / {{ {answer} }}\n"
        f'location /tagged {{ if ($http_x_tag = "") {{ return 400; }} {answer} }}\n'
        f"location /read {{ {read} }}\n"
        f"location /big {{ root {files}; }} }}",
    )


def authorizer(folder: Path, port: int) -> list[str]:
    """Answers whom Envoy's ext_authz asks about: 403 below /denied, else 200 and a field for the request."""
    answer = 'location / { add_header x-tag "$http_x_user$http_accept_language"; return 200; }'
    return http(
        folder,
        f"authorizer-{port}",
        f"server {{ listen 127.0.0.1:{port} backlog=4096; {answer} location /denied {{ return 403; }} }}",
    )


def hop(folder: Path, port: int, origins: list[int], protocol: Protocol) -> list[str]:
    return proxy(folder, f"nginx-hop-{protocol}", (port, ""), (origins, ""), protocol)


def pair(folder: Path, ports: tuple[int, int], origins: list[int], protocol: Protocol) -> list[list[str]]:
    outer, inner = ports
    a, b = folder / "caller", folder / "called"
    accepts = (
        f"ssl_certificate {b}/leaf.pem; ssl_certificate_key {b}/leaf.key; ssl_client_certificate {b}/roots.pem; "
        "ssl_verify_client on; ssl_protocols TLSv1.3;"
    )
    kind = "grpc" if protocol is Protocol.GRPC else "proxy"
    connects = (
        f"{kind}_ssl_certificate {a}/leaf.pem; {kind}_ssl_certificate_key {a}/leaf.key; {kind}_ssl_verify on; "
        f"{kind}_ssl_trusted_certificate {a}/roots.pem; {kind}_ssl_name {SERVER}; {kind}_ssl_server_name on; "
        f"{kind}_ssl_protocols TLSv1.3;"
    )
    # The keyword that stream has instead of the scheme.
    connects += " proxy_ssl on;" if protocol is Protocol.TCP else ""
    return [
        proxy(folder, f"nginx-called-{protocol}", (inner, accepts), (origins, ""), protocol),
        proxy(folder, f"nginx-caller-{protocol}", (outer, ""), ([inner], connects), protocol),
    ]


def proxy(folder: Path, name: str, listen: tuple[int, str], to: tuple[list[int], str], protocol: Protocol) -> list[str]:
    """`listen` and `to`: the ports, and what is said of TLS there; nothing is plaintext."""
    (port, accepts), (ports, connects) = listen, to
    servers = " ".join(f"server 127.0.0.1:{one};" for one in ports)
    ssl = " ssl" if accepts else ""
    if protocol is Protocol.TCP:
        server = f"server {{ listen 127.0.0.1:{port}{ssl} backlog=4096; {accepts} {connects} proxy_pass o; }}"
        return command(folder, name, f"stream {{ upstream o {{ {servers} random two least_conn; }}\n{server} }}")
    http2, kind, scheme = (" http2", "grpc", "grpc") if protocol is Protocol.GRPC else ("", "proxy", "http")
    passes = f"{kind}_pass {scheme}{'s' if connects else ''}://o;"
    return http(
        folder,
        name,
        f"upstream o {{ {servers} random two least_conn; {KEEP} }}\n"
        f"server {{ listen 127.0.0.1:{port}{ssl}{http2} backlog=4096; {accepts} {connects} "
        f"location / {{ {passes} {FORWARD[protocol]} }} }}",
    )
