"""HAProxy doing the same work as ours: one thread, a trace header, keep-alive. Called by contenders.py."""

import shutil
from pathlib import Path

from protocol import Protocol


def installed() -> bool:
    return shutil.which("haproxy") is not None


def hop(folder: Path, port: int, origins: list[int], protocol: Protocol) -> list[str]:
    http = protocol is not Protocol.TCP
    h2 = " proto h2" if protocol is Protocol.GRPC else ""
    pool = " pool-max-conn 1000" if http else ""
    servers = "\n".join(f"  server s{origin} 127.0.0.1:{origin}{pool}{h2}" for origin in origins)
    trace = "  http-request set-header traceparent %[uuid]\n" if http else ""
    reuse = "  http-reuse always\n" if http else ""
    path = folder / f"haproxy-{protocol}.cfg"
    path.write_text(
        f"global\n  maxconn 4000\n  nbthread 1\ndefaults\n  mode {'http' if http else 'tcp'}\n"
        "  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n  timeout tunnel 600s\n"
        f"frontend f\n  bind 127.0.0.1:{port}{h2}\n{trace}  default_backend o\n"
        f"backend o\n{reuse}  balance random(2)\n{servers}\n"
    )
    return ["haproxy", "-db", "-f", str(path)]
