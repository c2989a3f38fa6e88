"""The claims on encryption: both ends of every edge know who is there, and the wire shows nothing of what is said."""

import asyncio
import os
import secrets
import socket
from typing import Any

from plait_cli.client import Api
from plait_cli.demo.capture import Capture
from plait_cli.demo.claims.result import Length, Result
from plait_cli.demo.probe import get
from plait_cli.demo.stage import Stage

IDENTITY = "spiffe://bookshop.example/ns/bookshop/sa/{}"
# Who answers web's calls, by Workload: its service account is the identity that web must find there.
CALLED = {
    "catalog-1": "catalog",
    "reviews-v1-1": "reviews",
    "reviews-v1-2": "reviews",
    "reviews-v2-1": "reviews",
    "ledger-1": "ledger",
}
GROUP = "X25519MLKEM768"
CAPTURE_SECONDS = 2.0
# A second of load has opened every connection.
SETTLED_SECONDS = 1.0
# What no byte between sidecars may show: HTTP of either version, our own words, and the secret sent meanwhile.
TELLTALES = (b"HTTP/1.1", b"PRI * HTTP/2.0", b"GET /", b"Could not put it down")


async def every_edge_encrypted(stage: Stage, length: Length) -> Result:
    """Each connection from web's sidecar is TLS 1.3 with the identity expected at either end, seen from either end."""
    await asyncio.sleep(SETTLED_SECONDS)
    outbound = [entry for entry in stage.admin("web-1").connections() if is_mesh(entry, "outbound")]
    wrong = [f"web-1 out: {entry}" for entry in outbound if not strong(entry)]
    edges = 0
    for workload, account in CALLED.items():
        inbound = [entry for entry in stage.admin(workload).connections() if is_mesh(entry, "inbound")]
        if not inbound or any(entry["identity"] != IDENTITY.format("web") or not strong(entry) for entry in inbound):
            wrong.append(f"{workload} in: {inbound}")
        if IDENTITY.format(account) not in {entry["identity"] for entry in outbound}:
            wrong.append(f"web-1 out: nobody is {account}")
        edges += bool(inbound)
    if wrong:
        return Result(False, "; ".join(wrong)[:400])
    return Result(True, f"{edges} of {len(CALLED)}, TLS 1.3, {GROUP}, identities verified both ways")


def is_mesh(entry: dict[str, Any], direction: str) -> bool:
    """Whether a connection goes to or comes from another sidecar."""
    return entry["direction"] == direction and bool(entry["identity"])


def strong(entry: dict[str, Any]) -> bool:
    """Whether a connection is TLS 1.3 with the key exchange that we promise."""
    return "1.3" in str(entry["tls"]).replace("_", ".") and GROUP.lower() in str(entry["group"]).lower()


async def no_plaintext(stage: Stage, length: Length) -> Result:
    """A secret sent through the mesh shows where processes speak (so the capture sees) and never between sidecars."""
    workloads = await asyncio.to_thread(Api(stage.mesh).workloads)
    between = {int(entry["inbound"].rpartition(":")[2]) for entry in workloads}
    beside = {port["port"] for entry in workloads for port in entry["ports"]}
    secret = secrets.token_hex(16)
    try:
        capture = Capture(between | beside)
    except PermissionError:
        return Result(None, f"not checked: capturing packets needs root, this is user {os.getuid()}")
    with capture:
        for _ in range(50):
            await asyncio.to_thread(get, 18201, f"http://reviews/reviews/{secret}", {"x-secret": secret})
        await asyncio.to_thread(tell_ledger, secret)
        await asyncio.sleep(CAPTURE_SECONDS)
    marks = (*TELLTALES, secret.encode())
    seen = b"".join(capture.payloads[port] for port in sorted(beside)).count(secret.encode())
    volume = sum(len(capture.payloads[port]) for port in between)
    leaks = [mark.decode() for port in between for mark in marks if mark in capture.payloads[port]]
    if leaks or not seen or not volume:
        return Result(False, f"leaked between sidecars: {leaks}; seen beside them: {seen}; {volume} bytes captured")
    return Result(
        True,
        f"{volume // 1000:,} KB between sidecars, 0 plaintext; the same capture saw a secret {seen} x at processes",
    )


def tell_ledger(secret: str) -> None:
    """Sends a line to the ledger through web's sidecar."""
    with socket.create_connection(("127.0.0.1", 18301), 5) as connection:
        connection.sendall(secret.encode() + b"\n")
        connection.recv(200)
