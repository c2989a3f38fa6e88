"""Names of resources and identities, and small conversions that every kind needs."""

import hashlib
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from plait_sdk.contracts import resource_pb2

from plait_controlplane.resources.fields import Metadata, Resource
from plait_controlplane.resources.mesh import MeshSpec
from plait_controlplane.resources.service import ServicePort
from plait_controlplane.resources.workload import Workload


def resource(kind: resource_pb2.ResourceKind.ValueType, name: str, body: Message) -> resource_pb2.Resource:
    """The envelope: serialised once, its version the hash of its bytes."""
    data = body.SerializeToString(deterministic=True)
    return resource_pb2.Resource(kind=kind, name=name, version=hashlib.sha256(data).digest()[:16], body=data)


def full_name(metadata: Metadata) -> str:
    """ "namespace/name"."""
    return f"{metadata.namespace}/{metadata.name}"


def object_ref(resource: Resource) -> resource_pb2.ObjectRef:
    """The user's object, for explain and rejects."""
    namespace = "" if resource.kind == "Mesh" else resource.metadata.namespace
    return resource_pb2.ObjectRef(kind=resource.kind, namespace=namespace, name=resource.metadata.name)


def identity(mesh: MeshSpec, workload: Workload) -> str:
    """The SPIFFE ID of a workload."""
    return f"spiffe://{mesh.trust_domain}/ns/{workload.metadata.namespace}/sa/{workload.spec.service_account}"


def server_name(mesh: MeshSpec, workload: Workload) -> str:
    """The SNI that picks a workload's identity at its proxy."""
    return f"{workload.metadata.name}.{workload.metadata.namespace}.{mesh.trust_domain}"


def target_port(port: ServicePort, workload: Workload) -> int | None:
    """The port of the workload's process that a Service's port leads to; None when it has none of that name."""
    target = port.port if port.target_port is None else port.target_port
    if isinstance(target, int):
        return target
    return next((candidate.port for candidate in workload.spec.ports if candidate.name == target), None)


def join(host: str, port: int) -> str:
    """("::1", 80) -> "[::1]:80"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def duration(value: timedelta) -> Duration:
    """As the contract carries it."""
    message = Duration()
    message.FromTimedelta(value)
    return message


def created(metadata: Metadata) -> int:
    """metadata.creationTimestamp in seconds; 0 when it is absent or no time."""
    try:
        return int(datetime.fromisoformat(metadata.creation_timestamp).timestamp())
    except ValueError:
        return 0
