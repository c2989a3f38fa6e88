"""A process that knows nothing of any mesh, and one that calls. Run in network namespaces by `pods`.

`serve NAME FOLDER PORT...` answers HTTP on each port of both families with what it was asked, greets on 9000 before
anybody has spoken, answers UDP on 5353, and writes the first words of every connection to FOLDER/NAME.heard.
`call JSON` makes one call and prints what came of it.
"""

import json
import os
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

GREETING_PORT, UDP_PORT = 9000, 5353
PATIENCE_SECONDS = 20


def listen(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """On both families."""
    found = socket.socket(socket.AF_INET6, kind)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    found.bind(("::", port))
    return found


def answer(taken: socket.socket, name: str, heard: Path, greets: bool) -> None:
    """One connection, one answer."""
    with taken:
        if greets:
            taken.sendall(f"hello of {name}\n".encode())
        data = b""
        while data[-4:] != b"\r\n\r\n" if data.startswith(b"GET ") else not data:
            more = taken.recv(4096)
            if not more:
                break
            data += more
        with heard.open("ab") as file:
            file.write(data[:200] + b"\n--\n")
        if not data.startswith(b"GET "):
            taken.sendall(b"heard " + data[:100])
            return
        lines = data.decode().split("\r\n")
        fields = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:] if line)}
        said = {"name": name, "path": lines[0].split()[1], "peer": taken.getpeername()[0], "fields": fields}
        body = json.dumps(said).encode()
        taken.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def accept(port: int, name: str, heard: Path) -> None:
    """Forever."""
    listener = listen(port)
    listener.listen(64)
    while True:
        taken, _ = listener.accept()
        threading.Thread(target=answer, args=(taken, name, heard, port == GREETING_PORT), daemon=True).start()


def serve(name: str, folder: str, *ports: str) -> None:
    """Until it is killed."""
    heard = Path(folder, f"{name}.heard")
    for port in [*map(int, ports), GREETING_PORT]:
        threading.Thread(target=accept, args=(port, name, heard), daemon=True).start()
    datagrams = listen(UDP_PORT, socket.SOCK_DGRAM)
    Path(folder, f"{name}.up").touch()
    while True:
        data, peer = datagrams.recvfrom(1000)
        datagrams.sendto(f"{name}: ".encode() + data, peer)


def call(asked: dict[str, Any]) -> dict[str, Any]:
    """Keys: address, port; says ("" = waits for a greeting), uid, source_port, udp, tls."""
    if "uid" in asked:
        os.setgid(asked["uid"])
        os.setuid(asked["uid"])
    family = socket.AF_INET6 if ":" in asked["address"] else socket.AF_INET
    kind = socket.SOCK_DGRAM if asked.get("udp") else socket.SOCK_STREAM
    with socket.socket(family, kind) as raw:
        raw.settimeout(PATIENCE_SECONDS)
        try:
            if "source_port" in asked:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                raw.bind(("", asked["source_port"]))
            raw.connect((asked["address"], asked["port"]))
            spoken = raw
            if asked.get("tls"):
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                spoken = context.wrap_socket(raw)
            if asked.get("says"):
                spoken.sendall(asked["says"].encode())
            data = b""
            while more := spoken.recv(4096):
                data += more
                if not asked.get("says", "").startswith("GET "):
                    break
        except OSError as error:
            return {"error": type(error).__name__, "why": str(error)}
        return {"said": data.decode(errors="replace")}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        print(json.dumps(call(json.loads(sys.argv[2]))))
