"""What a cluster tells beside the user's objects: its pods, and where its Services run. Immutable.

Made by `sources.kubernetes`, read by translate through `World`. A directory has none of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from plait_controlplane.resources.workload import Workload


@dataclass(frozen=True)
class PlainPod:
    """A pod without a proxy: it is called in plaintext, and calls nobody as itself."""

    namespace: str
    name: str
    address: str
    zone: str = ""
    uid: str = ""
    is_missing: bool = False
    """Whether its own label or its namespace's asks for a proxy."""


@dataclass(frozen=True)
class SliceEndpoint:
    """One endpoint of an EndpointSlice."""

    address: str
    ready: bool = True
    draining: bool = False
    """Terminating and still serving: used when no other is ready."""
    zone: str = ""
    pod: str = ""
    """ "namespace/name" of the pod that the endpoint is; empty where it is none."""


@dataclass(frozen=True)
class Slice:
    """An EndpointSlice of a Service."""

    family: str
    """IPv4 or IPv6."""
    ports: Mapping[str, int]
    """The port of the processes by the name of the Service's port."""
    endpoints: tuple[SliceEndpoint, ...]


@dataclass(frozen=True)
class Cluster:
    """Pods are known by "namespace/name"."""

    pods: Mapping[str, Workload] = field(default_factory=dict)
    """Those with a proxy: to the mesh a pod is a workload."""
    plain: Mapping[str, PlainPod] = field(default_factory=dict)
    slices: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)
    """By "namespace/name" of the Service."""

    @cached_property
    def pods_at(self) -> Mapping[str, Workload]:
        """Pods with a proxy by their address."""
        return {pod.spec.address: pod for pod in self.pods.values()}
