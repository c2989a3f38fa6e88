"""Servers of TLS behind the mesh, chosen by the name that the client asks for: nobody opens what is between the two."""

import collections
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import Mesh
from servers import certificate, folder, give, name_of, program, running, trusting

PATIENCE_SECONDS = 60
LARGE = b"0123456789abcdef" * (1 << 18)
CONFIGURATION = """
daemon off;
pid {place}/pid;
error_log stderr;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    scgi_temp_path {place}/scgi;
    uwsgi_temp_path {place}/uwsgi;
    root {place};
{servers}
}}
"""
SERVER = """
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name {host};
        ssl_certificate {place}/tls/{name}/leaf.pem;
        ssl_certificate_key {place}/tls/{name}/leaf.key;
        location /who {{ return 200 "{colour} $ssl_server_name $server_protocol\\n"; }}
    }}
"""
NAMES = ["secure", "other"]


@pytest.fixture(scope="module")
def root(mesh: Mesh) -> Iterator[Path]:
    """Two places with the same names; gives the root that their callers trust."""
    command = program("nginx", "nginx-light")
    with folder("tls") as place:
        trusted = certificate(place / "tls", *NAMES)
        (place / "large").write_bytes(LARGE)
        ports = {colour: mesh.services[colour].processes[0] for colour in ("blue", "green")}
        servers = "".join(
            SERVER.format(place=place, colour=colour, port=port, name=name, host=name_of(name))
            for colour, port in ports.items()
            for name in NAMES
        )
        (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, servers=servers))
        give(place)
        with running([command, "-c", str(place / "nginx.conf"), "-e", "stderr"], place, ports["green"]):
            yield trusted


def curl(mesh: Mesh, root: Path, host: str, path: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    port = mesh.services["secure"].bind
    asked = [program("curl", "curl"), "-sS", "--max-time", str(PATIENCE_SECONDS), "--cacert", str(root), *words]
    asked += ["--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}{path}"]
    return subprocess.run(asked, capture_output=True, timeout=PATIENCE_SECONDS * 2, check=False)


@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")])
@pytest.mark.parametrize("name", NAMES)
def test_the_server_of_that_name_answers_itself(mesh: Mesh, root: Path, name: str, flag: str, version: str) -> None:
    ended = curl(mesh, root, name_of(name), "/who", flag)
    assert ended.returncode == 0, ended.stderr
    _, host, spoken = ended.stdout.decode().split()
    assert (host, spoken) == (name_of(name), version)
    assert curl(mesh, root, name_of(name), "/large", flag).stdout == LARGE


@pytest.mark.usefixtures("root")
def test_connections_are_shared_by_weight(mesh: Mesh, root: Path) -> None:
    context = trusting(root)

    def answers(name: str) -> str:
        address = ("127.0.0.1", mesh.services["secure"].bind)
        plain = socket.create_connection(address, PATIENCE_SECONDS)
        with context.wrap_socket(plain, server_hostname=name_of(name)) as opened:
            opened.sendall(f"GET /who HTTP/1.0\r\nHost: {name_of(name)}\r\n\r\n".encode())
            return opened.makefile().read().splitlines()[-1].split()[0]

    seen = collections.Counter(answers("secure") for _ in range(120))
    # 3 of 4, and six standard deviations of 120 draws around it.
    assert 62 <= seen["blue"] <= 118, seen
    assert {answers("other") for _ in range(10)} == {"green"}


@pytest.mark.parametrize("name", ["elsewhere.example", None])
def test_a_name_of_nobody_is_closed(mesh: Mesh, root: Path, name: str | None) -> None:
    context = trusting(root, name=False)
    address = ("127.0.0.1", mesh.services["secure"].bind)
    with socket.create_connection(address, PATIENCE_SECONDS) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname=name)
