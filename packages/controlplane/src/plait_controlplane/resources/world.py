"""The world: every object in force, immutable. Made by the sources and by lint; read by translate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from plait_controlplane.resources.cluster import Cluster
from plait_controlplane.resources.discovered import Discovered
from plait_controlplane.resources.mesh import Mesh
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import Key, StoredObject
from plait_controlplane.resources.service import Service
from plait_controlplane.resources.workload import Workload

T = TypeVar("T")

ROOT_NAMESPACE = "plait-system"
"""Where policies may speak for the whole mesh."""


@dataclass(frozen=True)
class World:
    """All objects by key, in the order of their keys, the pods of a cluster, and what plugins discovered."""

    objects: Mapping[Key, StoredObject] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)
    discovered: Mapping[str, tuple[Discovered, ...]] = field(default_factory=dict)
    """By "namespace/name" of the Service."""

    def with_objects(self, objects: Mapping[Key, StoredObject]) -> "World":
        """The same cluster with other objects."""
        return World(dict(sorted(objects.items())), self.cluster, self.discovered)

    def kind(self, model: type[T]) -> Iterator[tuple[StoredObject, T]]:
        """Every object of a kind."""
        for kind, found in self._kinds.items():
            if issubclass(kind, model):
                for stored in found:
                    yield stored, cast(T, stored.resource)

    def service(self, namespace: str, name: str) -> Service | None:
        """The Service of that name."""
        stored = self.objects.get(("Service", namespace, name))
        return stored.resource if stored and isinstance(stored.resource, Service) else None

    def mesh(self) -> Mesh | None:
        """The Mesh object, if the user wrote one."""
        return next((mesh for _, mesh in self.kind(Mesh)), None)

    @cached_property
    def _kinds(self) -> Mapping[type[object], Sequence[StoredObject]]:
        """Objects by the type of their resource."""
        found: dict[type[object], list[StoredObject]] = {}
        for stored in self.objects.values():
            found.setdefault(type(stored.resource), []).append(stored)
        return found

    @cached_property
    def workloads(self) -> Sequence[Workload]:
        """Every process with a proxy of its own: pods, and Workloads. A pod comes before a Workload of its name."""
        written = [workload for _, workload in self.kind(Workload)]
        pods = self.cluster.pods
        return [
            *pods.values(),
            *(one for one in written if f"{one.metadata.namespace}/{one.metadata.name}" not in pods),
        ]

    def listening(self, address: str, port: int) -> Workload | None:
        """The workload with a proxy whose process listens there."""
        return self.cluster.pods_at.get(address) or self._listening.get((address, port))

    def selected(self, service: Service) -> Sequence[Workload]:
        """The workloads that a Service's selector picks; none without a selector."""
        found = [
            self._labelled.get((service.metadata.namespace, label, value), ())
            for label, value in service.spec.selector.items()
        ]
        return [workload for workload in min(found, key=len) if selects(service, workload)] if found else []

    def services_of(self, workload: Workload) -> Sequence[Service]:
        """The Services whose selector picks a workload."""
        return self._services.get((workload.metadata.namespace, workload.metadata.name), ())

    @cached_property
    def _labelled(self) -> Mapping[tuple[str, str, str], Sequence[Workload]]:
        """Workloads by namespace and label."""
        found: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in self.workloads:
            for label, value in workload.metadata.labels.items():
                found.setdefault((workload.metadata.namespace, label, value), []).append(workload)
        return found

    @cached_property
    def _listening(self) -> Mapping[tuple[str, int], Workload]:
        """Workloads beside the cluster by the addresses of their processes: several may share an IP address."""
        written = [one for _, one in self.kind(Workload)]
        return {(one.spec.address, port.port): one for one in written for port in one.spec.ports}

    @cached_property
    def _services(self) -> Mapping[tuple[str, str], Sequence[Service]]:
        found: dict[tuple[str, str], list[Service]] = {}
        for _, service in self.kind(Service):
            for workload in self.selected(service):
                found.setdefault((workload.metadata.namespace, workload.metadata.name), []).append(service)
        return found


def selects(service: Service, workload: Workload) -> bool:
    """Whether a Service's selector picks a workload."""
    wanted, same = service.spec.selector.items(), service.metadata.namespace == workload.metadata.namespace
    return bool(wanted) and same and wanted <= workload.metadata.labels.items()


def world_of(objects: list[StoredObject]) -> tuple[World, list[Problem]]:
    """The world of these objects. Of two with one key the first counts; the other is a problem."""
    kept: dict[Key, StoredObject] = {}
    problems = []
    for stored in objects:
        first = kept.setdefault(stored.key, stored)
        if first is not stored:
            line = first.document.place(("metadata", "name")).value[0]
            message = f"{stored.title} stands in {first.file}:{line} already; give this one another name or remove it"
            problems.append(stored.problem(("metadata", "name"), message))
    return World(dict(sorted(kept.items()))), problems
