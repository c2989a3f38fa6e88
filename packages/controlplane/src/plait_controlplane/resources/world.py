"""The world: every object in force, immutable. Made by the sources and by lint; read by translate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

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
    """All objects by key, in the order of their keys."""

    objects: Mapping[Key, StoredObject] = field(default_factory=dict)

    def kind(self, model: type[T]) -> Iterator[tuple[StoredObject, T]]:
        """Every object of a kind."""
        for stored in self.objects.values():
            if isinstance(stored.resource, model):
                yield stored, stored.resource

    def service(self, namespace: str, name: str) -> Service | None:
        """The Service of that name."""
        stored = self.objects.get(("Service", namespace, name))
        return stored.resource if stored and isinstance(stored.resource, Service) else None

    def mesh(self) -> Mesh | None:
        """The Mesh object, if the user wrote one."""
        return next((mesh for _, mesh in self.kind(Mesh)), None)

    def selected(self, service: Service) -> list[Workload]:
        """The workloads that a Service's selector picks; none without a selector."""
        wanted = service.spec.selector.items()
        namespace = service.metadata.namespace
        return [
            workload
            for _, workload in self.kind(Workload)
            if wanted and workload.metadata.namespace == namespace and wanted <= workload.metadata.labels.items()
        ]


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
