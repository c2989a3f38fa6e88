"""Service -> the Service and Endpoints messages."""

import ipaddress
from collections.abc import Iterator, Mapping

from plait_sdk.contracts import endpoint_pb2, service_pb2, workload_pb2

from plait_controlplane.resources.mesh import MeshSpec
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.service import Service, ServicePort
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.world import World
from plait_controlplane.translate.backend import backend_traffic
from plait_controlplane.translate.names import full_name, identity, join, server_name, target_port
from plait_controlplane.translate.places import Place, places
from plait_controlplane.translate.traffic import Target, call_traffic

HTTP = {"http", "kubernetes.io/ws", "http1"}
TLS = {"tls", "https"}
TCP = {"tcp", "mysql", "postgres", "redis", "mongo"}
HTTP2 = {"grpc", "http2", "kubernetes.io/h2c", "h2c"}


def protocol(port: ServicePort) -> workload_pb2.Protocol.ValueType:
    """By appProtocol, else by the first word of the port's name, else detected."""
    word = (port.app_protocol or port.name.split("-")[0]).lower()
    if word in HTTP:
        return workload_pb2.PROTOCOL_HTTP
    if word in HTTP2:
        return workload_pb2.PROTOCOL_HTTP2
    if word in TLS:
        return workload_pb2.PROTOCOL_TLS
    return workload_pb2.PROTOCOL_TCP if word in TCP else workload_pb2.PROTOCOL_AUTO


def translate_service(service: Service, traffic: list[TrafficPolicy]) -> service_pb2.Service:
    """Ports and traffic settings."""
    namespace, name = service.metadata.namespace, service.metadata.name
    ports = [
        service_pb2.ServicePort(name=port.name, port=port.port, protocol=protocol(port))
        for port in service.spec.carried
    ]
    return service_pb2.Service(
        namespace=namespace,
        name=name,
        ports=ports,
        calls=call_traffic(traffic, [Target(namespace, "Service", name)], namespace, {}),
        backend=backend_traffic(traffic, namespace, name),
        addresses=cluster_ips(service),
    )


def cluster_ips(service: Service) -> list[str]:
    """The addresses of a Service, written canonically; none of a headless one."""
    spec = service.spec
    found = []
    for text in spec.cluster_ips or [spec.cluster_ip]:
        try:
            found.append(str(ipaddress.ip_address(text)))
        except ValueError:  # "None" of a headless Service, or not given yet
            continue
    return list(dict.fromkeys(found))


def translate_endpoints(
    world: World, mesh: MeshSpec, service: Service, inbound: Mapping[str, str]
) -> endpoint_pb2.Endpoints:
    """Where the Service runs. `inbound` says where each workload's proxy is called, by its full name."""
    message = endpoint_pb2.Endpoints(service=full_name(service.metadata))
    for port in service.spec.carried:
        group = message.ports.add(port=port.port)
        group.endpoints.extend(_endpoint(mesh, place, inbound) for place in places(world, service, port))
    return message


def _endpoint(mesh: MeshSpec, place: Place, inbound: Mapping[str, str]) -> endpoint_pb2.Endpoint:
    workload = place.workload
    if workload is None:
        address = join(place.address, place.port)
        return endpoint_pb2.Endpoint(workload=place.pod, address=address, target_port=place.port, zone=place.zone)
    return endpoint_pb2.Endpoint(
        workload=full_name(workload.metadata),
        address=inbound[full_name(workload.metadata)],
        identity=identity(mesh, workload),
        server_name=server_name(mesh, workload),
        target_port=place.port,
        zone=place.zone,
    )


def check_service(world: World, stored: StoredObject, service: Service) -> Iterator[Problem]:
    """Ports that no workload has, duplicate ports, selectors that pick nobody."""
    seen: set[tuple[int, str]] = set()
    for index, port in enumerate(service.spec.ports):
        if (port.port, port.protocol) in seen:
            yield stored.problem(("spec", "ports", index, "port"), f"port {port.port} comes twice")
        seen.add((port.port, port.protocol))
        if port.protocol != "TCP":
            message = f"port {port.port} is {port.protocol}: skipped, the mesh carries TCP"
            yield stored.problem(("spec", "ports", index, "protocol"), message, "note")
    workloads = world.selected(service)
    if world.cluster.slices or world.cluster.plain:
        return  # there the cluster says where a Service runs, and tells what is wrong with that
    if service.spec.selector and not workloads:
        labels = ", ".join(f"{key}={value}" for key, value in service.spec.selector.items())
        message = f"no Workload of namespace {service.metadata.namespace} has the labels {labels}: calls get 503"
        yield stored.problem(("spec", "selector"), message, "note")
    for index, port in enumerate(service.spec.ports):
        if port.protocol != "TCP":
            continue
        if workloads and isinstance(port.target_port, str) and all(target_port(port, w) is None for w in workloads):
            names = sorted({p.name for w in workloads for p in w.spec.ports})
            message = (
                f'no selected Workload has a port named "{port.target_port}"; they have {", ".join(names) or "none"}'
            )
            yield stored.problem(("spec", "ports", index, "targetPort"), message)
