"""Connections that are no HTTP: who may open one, and what is told of its end, on a real mesh."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from plugged import APPLICATION, Mesh, free_port, until

LEDGER = """
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: shop}
spec: {selector: {app: ledger}, ports: [{name: tcp, port: 7000, targetPort: tcp, appProtocol: tcp}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: ledger-1, namespace: shop, labels: {app: ledger}}
spec: {serviceAccount: ledger, address: 127.0.0.1, ports: [{name: tcp, port: %d}]}
"""


@pytest.fixture(scope="module")
def ledger(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh with a Service that answers lines."""
    port = free_port()
    with subprocess.Popen([sys.executable, str(APPLICATION), "tcp", str(port), "ledger"]) as process:
        mesh.write("ledger.yaml", LEDGER % port)
        until(lambda: said(mesh, "hello") == "ledger hello", "the Service answers")
        yield mesh
        (mesh.yaml / "ledger.yaml").unlink()
        process.kill()


def said(mesh: Mesh, line: str) -> str:
    """What comes back for a line on a connection of its own, or why it is not let in."""
    try:
        with socket.create_connection(("127.0.0.1", mesh.ports["web_out"]), 60) as connection:
            connection.sendall(b"CONNECT ledger:7000 HTTP/1.1\r\nHost: ledger:7000\r\n\r\n")
            reader = connection.makefile("rb")
            head = b"".join(iter(reader.readline, b"\r\n"))
            if not head.startswith(b"HTTP/1.1 200"):
                return head.partition(b"plait-reason: ")[2].partition(b"\r\n")[0].decode()
            connection.sendall(f"{line}\n".encode())
            return reader.readline().decode().strip()
    except OSError:
        return ""


@pytest.mark.parametrize("direction", ["Inbound", "Outbound"])
def test_a_connection_is_let_in_by_who_opens_it_and_its_end_is_told(ledger: Mesh, direction: str) -> None:
    ref = {"group": "", "kind": "Service", "name": "ledger"}
    ledger.attach("d", plugin="door", direction=direction, targetRefs=[ref], config={"closed_to": ["web"]})
    until(lambda: said(ledger, "x") == "plugin_denied", "the door is closed")
    ledger.attach("d", plugin="door", direction=direction, targetRefs=[ref], config={"closed_to": ["nobody"]})
    until(lambda: said(ledger, "four") == "ledger four", "the door is open")
    workload = "ledger-1" if direction == "Inbound" else "web-1"
    log = ledger.state / "proxies" / f"shop.{workload}" / "log"
    until(lambda: "ended web shop/ledger in 5 out 12" in log.read_text(), "the end is told")
    (ledger.yaml / "d.yaml").unlink()
    until(lambda: ledger.status("d") == ("", ""), "the plugin is gone")
