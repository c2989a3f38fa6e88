"""Workload -> the Direct message: who answers when its own address is called. Called by `everything`."""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from plait_sdk.contracts import endpoint_pb2, workload_pb2

from plait_controlplane.resources.mesh import MeshSpec
from plait_controlplane.resources.workload import Workload
from plait_controlplane.translate.names import full_name, identity, server_name


def own_addresses(workloads: Iterable[Workload]) -> frozenset[str]:
    """Addresses that stand for one workload alone. Loopback stands for whoever calls it, a shared one for nobody."""
    counted = Counter(workload.spec.address for workload in workloads)
    return frozenset(address for address, count in counted.items() if count == 1 and not _is_loopback(address))


@lru_cache(maxsize=100_000)
def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def translate_direct(
    mesh: MeshSpec, workload: Workload, served: workload_pb2.Workload, inbound: str
) -> endpoint_pb2.Direct:
    """`served` is the workload as its own proxy knows it, `inbound` where that proxy is called."""
    spoken = [port for port in served.ports if port.protocol != workload_pb2.PROTOCOL_AUTO]
    return endpoint_pb2.Direct(
        address=workload.spec.address,
        workload=full_name(workload.metadata),
        inbound=inbound,
        identity=identity(mesh, workload),
        server_name=server_name(mesh, workload),
        zone=workload.spec.zone,
        ports=[endpoint_pb2.DirectPort(port=port.port, protocol=port.protocol) for port in spoken],
    )
