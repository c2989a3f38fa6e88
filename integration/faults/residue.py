"""What a fault leaves behind in a proxy: descriptors, connections and requests under way, memory. Called by the rig.

Reads /proc and the admin socket; knows nothing of faults.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Residue:
    """Of one proxy at one moment."""

    descriptors: int
    connections: int
    in_flight: int
    resident_kilobytes: int
    panics: int


def of(pid: int, admin: Path) -> Residue:
    """Asks a proxy that runs."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin)), timeout=20, trust_env=False) as client:
        metrics = client.get("http://admin/metrics").text
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return Residue(
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        connections=total(metrics, "plait_connections_open"),
        in_flight=total(metrics, "plait_requests_in_flight"),
        resident_kilobytes=int(resident.group(1)) if resident else 0,
        panics=total(metrics, "plait_panics_total"),
    )


def total(metrics: str, name: str) -> int:
    """The sum over all series of a metric."""
    lines = [line for line in metrics.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
