"""What was heard of each kind of a cluster, cut down to what the mesh reads.

Filled by reflectors, read by `kubernetes`.

A store says when something that counts has changed: most events of a cluster (heartbeats, probes, our own words in a
status) change nothing here. An object that stays the same stays the same value.
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from plait_controlplane.apiserver import Object
from plait_controlplane.resources.apiobject import read_object
from plait_controlplane.resources.document import Document
from plait_controlplane.resources.kinds import CONTROLLER, CORE
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.sources.installed import Kind
from plait_controlplane.sources.pods import full_name

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Store(Generic[T]):
    """One kind; `cut` makes of an object what is kept of it, None where it does not concern the mesh."""

    def __init__(self, kind: Kind, cut: Callable[[Object], T | None], changed: Callable[[], None]) -> None:
        self.kind = kind
        self.items: dict[str, T] = {}
        self.is_listed = False
        self.position = 0
        """Everything up to this resourceVersion was heard."""
        self.highest = 0
        """The highest resourceVersion of an object or of an event."""
        self.edition = 0
        """Goes up with every change of `items`."""
        self._cut = cut
        self._changed = changed

    def listed(self, objects: list[Object], version: int) -> None:
        """Everything that there is: what is not among it is gone."""
        names = {full_name(item) for item in objects}
        for name in [name for name in self.items if name not in names]:
            self._drop(name)
        for item in objects:
            self._keep(item)
            self.highest = max(self.highest, _version(item))
        self.is_listed = True
        self.reached(version)
        self._changed()

    def changed(self, kind: str, item: Object, version: int) -> None:
        """One event."""
        before = self.edition
        if kind == "DELETED":
            self._drop(full_name(item))
        else:
            self._keep(item)
        self.highest = max(self.highest, version)
        self.reached(version)
        if self.edition != before:
            self._changed()

    def reached(self, version: int) -> None:
        """A bookmark."""
        self.position = max(self.position, version)

    def clear(self) -> None:
        """The kind itself is gone."""
        for name in list(self.items):
            self._drop(name)
        self._changed()

    def _keep(self, item: Object) -> None:
        name = full_name(item)
        try:
            kept = self._cut(item)
        except Exception:
            # One object that nobody thought of must not stop what comes after it; what it was before stays.
            LOG.exception("%s %s cannot be read", self.kind.name, name)
            return
        if kept is None:
            self._drop(name)
        elif self.items.get(name) != kept:
            self.items[name] = kept
            self.edition += 1

    def _drop(self, name: str) -> None:
        if self.items.pop(name, None) is not None:
            self.edition += 1


class ObjectStore(Store[Object]):
    """A kind of the user's: typed objects, what is wrong with the others, and all as the API server has them."""

    def __init__(self, kind: Kind, changed: Callable[[], None]) -> None:
        super().__init__(kind, self._own_part, changed)
        self.objects: dict[str, StoredObject] = {}
        self.problems: dict[str, list[Problem]] = {}
        self.broken: dict[str, Document] = {}
        self.raw: dict[str, Object] = {}
        """As the API server has them; routes too that were ours and whose status says so still."""

    def _keep(self, item: Object) -> None:
        name, before = full_name(item), self.items.get(full_name(item))
        super()._keep(item)
        kept = self.items.get(name)
        if kept is not None or _says_of_us(item):
            self.raw[name] = item
        if kept is None:
            return
        if kept is before:
            return
        assert self.kind.model is not None
        strict = self.kind.group != ""
        stored, problems, document = read_object(self.kind.model, kept, strict)
        self._forget(name)
        if stored is not None:
            self.objects[name] = stored
        else:
            self.problems[name], self.broken[name] = problems, document

    def _drop(self, name: str) -> None:
        super()._drop(name)
        self.raw.pop(name, None)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self.objects.pop(name, None)
        self.problems.pop(name, None)
        self.broken.pop(name, None)

    def _own_part(self, item: Object) -> Object | None:
        """Without what others write into it. A route keeps its Services alone; without any it is not ours."""
        meta = {name: value for name, value in item.get("metadata", {}).items() if name not in OTHERS}
        kept = {
            **item,
            "apiVersion": item.get("apiVersion") or f"{self.kind.group}/{self.kind.versions[0]}".lstrip("/") or CORE,
            "kind": self.kind.name,
            "metadata": meta,
        }
        kept.pop("status", None)
        spec = kept.get("spec")
        if not self.kind.name.endswith("Route") or not isinstance(spec, dict):
            return kept
        parents = [parent for parent in spec.get("parentRefs") or () if is_ours(parent)]
        return {**kept, "spec": {**spec, "parentRefs": parents}} if parents else None


OTHERS = ("resourceVersion", "managedFields", "ownerReferences", "finalizers", "selfLink", "generateName")
"""Fields of metadata that change without the user, or that mean nothing to the mesh."""


def is_ours(parent: Any) -> bool:
    """Whether a parentRef names a Service: the others belong to gateways."""
    return isinstance(parent, dict) and (parent.get("group"), parent.get("kind")) == ("", "Service")


def _says_of_us(item: Object) -> bool:
    entries = (item.get("status") or {}).get("parents") or ()
    return any(entry.get("controllerName") == CONTROLLER for entry in entries)


def _version(item: Object) -> int:
    version = str(item.get("metadata", {}).get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0
