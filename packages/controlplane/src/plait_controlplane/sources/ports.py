"""Ports that the user left to the mesh: chosen once, kept in a file, so that a restart finds everybody where they were.

Called by `folder` for workloads and by the supervisor for the control plane's own two. Only loopback gets free ports:
elsewhere others must know the port without asking.
"""

import ipaddress
import json
import os
import random
import re
import socket
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from types import MappingProxyType

from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.sources.directory import FILE_BYTES, files
from plait_controlplane.translate.names import full_name, join
from plait_controlplane.translate.workload import Listeners, called_at

INBOUND = 15006
OUTBOUND = 15001
OWN = {"discovery": 15012, "identity": 15013}
# Below the range that the kernel gives to outgoing connections, which would sooner or later sit on a port of ours.
FREE = range(20000, 32000)


class Ports:
    """The file of ports. Names are "discovery", "identity", "inbound namespace/name", "outbound namespace/name"."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            kept = {}
        self._ports: dict[str, int] = {str(name): int(port) for name, port in kept.items()}

    def own(self, name: str, host: str, written: Set[int] = frozenset()) -> str:
        """An address of the control plane's own; `written` are ports that the user gave to others."""
        if not ipaddress.ip_address(host).is_loopback:
            return join(host, OWN[name])
        return self._address(name, host, {*self._ports.values(), *written})

    def listeners(self, world: World, told: Mapping[str, str] = MappingProxyType({})) -> dict[str, Listeners]:
        """Where the proxy of each workload listens. `told` are the addresses that proxies gave for themselves."""
        workloads = [workload for _, workload in world.kind(Workload)]
        taken = set(self._ports.values()) | {port for workload in workloads for port in _written(workload)}
        found = {}
        for workload in workloads:
            name = full_name(workload.metadata)
            inbound, outbound = self._listens(name, workload, taken)
            found[name] = Listeners(inbound, outbound, called_at(inbound, told.get(name, workload.spec.address)))
        return found

    def _listens(self, name: str, workload: Workload, taken: set[int]) -> tuple[str, str]:
        host, sidecar = workload.spec.address, workload.spec.sidecar
        if ipaddress.ip_address(host).is_loopback:
            inbound = sidecar.inbound or self._address(f"inbound {name}", host, taken)
            return inbound, sidecar.outbound or self._address(f"outbound {name}", host, taken)
        # What others dial is redirected to the address of the interface that it comes in by.
        inbound = join("0.0.0.0", INBOUND) if sidecar.redirected else join(host, INBOUND)
        return sidecar.inbound or inbound, sidecar.outbound or join("127.0.0.1", OUTBOUND)

    def _address(self, name: str, host: str, taken: set[int]) -> str:
        if name not in self._ports:
            self._ports[name] = _free(host, taken)
            taken.add(self._ports[name])
            self._save()
        return join(host, self._ports[name])

    def _save(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._ports, indent=1))
        os.replace(fresh, self._file)


def numbers_in(directory: Path) -> frozenset[int]:
    """Every number in the files that could be a port of the range, understood or not: nobody listens there yet."""
    texts = (path.read_text(errors="replace") for path in files(directory) if path.stat().st_size <= FILE_BYTES)
    return frozenset(int(digits) for text in texts for digits in re.findall(r"(?<!\d)\d{5}(?!\d)", text))


def _written(workload: Workload) -> Iterable[int]:
    spec = workload.spec
    yield from (port.port for port in spec.ports)
    listens = [spec.sidecar.inbound, spec.sidecar.outbound, *(bind.listen for bind in spec.sidecar.binds)]
    yield from (int(listen.rpartition(":")[2]) for listen in listens if listen)


def _free(host: str, taken: set[int]) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(FREE, len(FREE)):
        if port in taken:
            continue
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on {host} from {FREE.start} to {FREE.stop - 1}")
