"""Workload -> the Workload message: where its proxy listens, and every policy in force there."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from plait_sdk.contracts import workload_pb2

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.problem import Path, Problem, path_text
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.translate.backend import connection_limit
from plait_controlplane.translate.names import created, full_name, target_port
from plait_controlplane.translate.policy import covered_ports
from plait_controlplane.translate.service import protocol


@dataclass(frozen=True)
class Listeners:
    """Where the proxy of a workload listens, defaults filled in by the source."""

    inbound: str
    outbound: str
    called_at: str
    """Where other proxies reach `inbound`."""


def called_at(inbound: str, address: str) -> str:
    """Where others reach a listener: there, or at `address` when it listens on every address of its machine."""
    host, _, port = inbound.rpartition(":")
    if not ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_unspecified:
        return inbound
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def destination(to: str, namespace: str) -> tuple[str, int] | None:
    """ "ledger:7000" or "ledger.shop:7000" -> ("shop/ledger", 7000)."""
    host, _, port = to.rpartition(":")
    labels = host.removesuffix(".svc.cluster.local").removesuffix(".svc").split(".")
    if not host or not port.isdigit() or len(labels) > 2:
        return None
    return f"{labels[1] if len(labels) == 2 else namespace}/{labels[0]}", int(port)


def translate_workload(
    world: World, workload: Workload, listeners: Listeners, traffic: list[TrafficPolicy]
) -> workload_pb2.Workload:
    """The message for the proxy beside the workload."""
    meta = workload.metadata
    message = workload_pb2.Workload(
        namespace=meta.namespace,
        name=meta.name,
        service_account=workload.spec.service_account,
        address=workload.spec.address,
        inbound=listeners.inbound,
        outbound=listeners.outbound,
        zone=workload.spec.zone,
        redirected=workload.spec.sidecar.redirected or full_name(meta) in world.cluster.pods,
    )
    services = sorted(world.services_of(workload), key=lambda s: (created(s.metadata), s.metadata.name))
    reached = [(s, p, target_port(p, workload)) for s in services for p in s.spec.carried]
    ports = {port.port: port.name for port in workload.spec.ports}
    if full_name(meta) in world.cluster.pods:  # a pod may listen on ports that it does not list
        ports = {**{number: "" for _, _, number in reached if number is not None}, **ports}
    for number, name in sorted(ports.items()):
        owners = [(s, p) for s, p, target in reached if target == number]
        entry = message.ports.add(name=name, port=number, protocol=workload_pb2.PROTOCOL_AUTO)
        if owners:
            service, service_port = owners[0]
            entry.service = full_name(service.metadata)
            entry.protocol = protocol(service_port)
            found = (connection_limit(traffic, s.metadata.namespace, s.metadata.name) for s, _ in owners)
            if limit := next((one for one in found if one), None):
                entry.connections.CopyFrom(limit)
    for bind in workload.spec.sidecar.binds:
        to = destination(bind.to, meta.namespace)
        if to:
            message.binds.add(listen=bind.listen, destination=to[0], port=to[1], authority=bind.to)
    for stored, policy in world.kind(AuthorizationPolicy):
        guarded = covered_ports(world, policy, workload)
        if guarded is not None:
            message.policies.add(name=full_name(stored.resource.metadata), ports=guarded)
    return message


def check_workload(world: World, stored: StoredObject, workload: Workload) -> Iterator[Problem]:
    """Binds to nowhere, ports named twice, addresses that two listeners share."""
    if full_name(workload.metadata) in world.cluster.pods:
        message = "a pod of this namespace has that name and counts; give this Workload another one"
        yield stored.problem(("metadata", "name"), message)
        return
    names = [port.name for port in workload.spec.ports]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield stored.problem(("spec", "ports", index, "name"), f'the port name "{name}" comes twice')
    for index, bind in enumerate(workload.spec.sidecar.binds):
        path = ("spec", "sidecar", "binds", index, "to")
        to = destination(bind.to, workload.metadata.namespace)
        if to is None:
            yield stored.problem(path, f'"{bind.to}" is no destination; write SERVICE:PORT or SERVICE.NAMESPACE:PORT')
            continue
        namespace, _, name = to[0].partition("/")
        service = world.service(namespace, name)
        if service is None:
            yield stored.problem(path, f"Service {to[0]} does not exist")
        elif to[1] not in {port.port for port in service.spec.carried}:
            known = ", ".join(str(port.port) for port in service.spec.carried)
            yield stored.problem(path, f"Service {to[0]} has no port {to[1]}; it has {known}")
    yield from _shared_listeners(world, stored, workload)


def _shared_listeners(world: World, stored: StoredObject, workload: Workload) -> Iterator[Problem]:
    """The later of two Workloads is told; one Workload's own listeners are compared with each other too."""
    taken: dict[tuple[str, str], str] = {}
    for other_stored, other in world.kind(Workload):
        for path, address in _listens(other):
            first = taken.setdefault((_machine(other), address), f"{other_stored.title} {path_text(path)}")
            if other is workload and first != f"{other_stored.title} {path_text(path)}":
                yield stored.problem(path, f"{address} is taken by {first}")
        if other is workload:
            return


def _machine(workload: Workload) -> str:
    """What tells machines apart, as far as the objects say; who listens on every address of a machine has it alone."""
    address, inbound = workload.spec.address, workload.spec.sidecar.inbound
    if not ipaddress.ip_address(address).is_loopback:
        return address
    return full_name(workload.metadata) if inbound and called_at(inbound, address) != inbound else ""


def _listens(workload: Workload) -> Iterator[tuple[Path, str]]:
    spec = workload.spec
    for index, port in enumerate(spec.ports):
        yield ("spec", "ports", index, "port"), f"{spec.address}:{port.port}"
    if spec.sidecar.inbound:
        yield ("spec", "sidecar", "inbound"), spec.sidecar.inbound
    if spec.sidecar.outbound:
        yield ("spec", "sidecar", "outbound"), spec.sidecar.outbound
    for index, bind in enumerate(spec.sidecar.binds):
        yield ("spec", "sidecar", "binds", index, "listen"), bind.listen
