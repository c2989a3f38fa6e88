"""Where a Service runs: the processes behind each of its ports. Pure; asked by `service`.

On a cluster its EndpointSlices say so, and its selector for Workloads beside the cluster; in a directory the selector
alone. Of a Service without a selector plugins may say it too. Whether an endpoint has a proxy is seen for each by
itself: one that has none is called in plaintext, whatever mode the mesh is in, since Strict is about what a workload
accepts. An endpoint whose pod is not known yet is left out: it could have a proxy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from plait_controlplane.resources.cluster import Slice, SliceEndpoint
from plait_controlplane.resources.discovered import Discovered
from plait_controlplane.resources.service import Service, ServicePort
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.translate.names import full_name, join, target_port


@dataclass(frozen=True)
class Place:
    """A process of a Service. Without a workload it has no proxy."""

    port: int
    zone: str
    workload: Workload | None = None
    address: str = ""
    """Of a process without a proxy."""
    pod: str = ""
    """What a process without a proxy is called: "namespace/name", or its address."""


def places(world: World, service: Service, port: ServicePort) -> Iterator[Place]:
    """Those of one port, in an order that does not change by itself."""
    seen = set()
    for number, endpoint in _of_slices(world.cluster.slices.get(full_name(service.metadata), ()), service, port):
        place = _place(world, number, endpoint)
        if place:
            seen.add(full_name(place.workload.metadata) if place.workload else "")
            yield place
    for workload in world.selected(service):
        target = target_port(port, workload)
        name = full_name(workload.metadata)
        if target is not None and name not in world.cluster.pods and name not in seen:
            yield Place(target, workload.spec.zone, workload)
    for found in _discovered(world, service):
        if found.service_port in ("", port.name):
            # By its address here too: no answer of a plugin leads callers past a proxy.
            behind = world.listening(found.address, found.port)
            name = "" if behind else join(found.address, found.port)
            zone = found.zone or (behind.spec.zone if behind else "")
            yield Place(found.port, zone, behind, "" if behind else found.address, name)


def made_of(world: World, service: Service, inbound: Mapping[str, str]) -> tuple[object, ...]:
    """Everything beside the Service itself that its places are made of: the same as long as they are."""
    slices = world.cluster.slices.get(full_name(service.metadata), ())
    pods: list[object] = []
    for one in slices:
        for endpoint in one.endpoints:
            pod = world.cluster.pods_at.get(endpoint.address) or world.cluster.pods.get(endpoint.pod)
            pods.append(endpoint.pod in world.cluster.plain if pod is None else pod)
            pods.append("" if pod is None else inbound[full_name(pod.metadata)])
    selected = world.selected(service)
    names = [full_name(workload.metadata) for workload in selected]
    called = tuple((inbound[name], name in world.cluster.pods) for name in names)
    found = _discovered(world, service)
    behind = [world.listening(one.address, one.port) for one in found]
    reached = tuple("" if one is None else inbound[full_name(one.metadata)] for one in behind)
    return slices, tuple(pods), tuple(selected), called, found, tuple(behind), reached


def _discovered(world: World, service: Service) -> tuple[Discovered, ...]:
    return () if service.spec.selector else world.discovered.get(full_name(service.metadata), ())


def _of_slices(found: tuple[Slice, ...], service: Service, port: ServicePort) -> list[tuple[int, SliceEndpoint]]:
    """Ready endpoints; while there is none, those that serve until they are gone."""
    families = {one.family for one in found if one.endpoints}
    family = next((wanted for wanted in service.spec.ip_families if wanted in families), None)
    every = [
        (one.ports[port.name], endpoint)
        for one in found
        if port.name in one.ports and one.family == (family or one.family)
        for endpoint in one.endpoints
    ]
    ready = [item for item in every if item[1].ready]
    chosen = ready or [item for item in every if item[1].draining]
    return sorted(dict.fromkeys(chosen), key=lambda item: (item[1].address, item[0]))


def _place(world: World, number: int, endpoint: SliceEndpoint) -> Place | None:
    # By its address: whoever writes an EndpointSlice by hand cannot lead callers past a pod's proxy.
    # By its pod: a pod has several addresses where there are two families, and its proxy is called at the first.
    pod = world.cluster.pods_at.get(endpoint.address) or world.cluster.pods.get(endpoint.pod)
    if pod is not None:
        return Place(number, endpoint.zone or pod.spec.zone, pod)
    if endpoint.pod and endpoint.pod not in world.cluster.plain:
        return None
    return Place(number, endpoint.zone, None, endpoint.address, endpoint.pod or endpoint.address)
