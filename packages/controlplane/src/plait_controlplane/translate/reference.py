"""References of routes to Services: what a backendRef comes to, and why one cannot serve. Pure."""

from collections.abc import Iterator, Sequence

from plait_sdk.contracts import route_pb2

from plait_controlplane.resources.httproute import BackendObject, ParentRef
from plait_controlplane.resources.problem import Path, Problem, did_you_mean
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.service import Service
from plait_controlplane.resources.world import World
from plait_controlplane.translate.names import full_name


def backend(world: World, namespace: str, ref: BackendObject, weight: int = 0) -> route_pb2.Backend:
    """One that cannot serve keeps its weight, and says why."""
    found = wrong_backend(world, namespace, ref)
    service = f"{ref.namespace or namespace}/{ref.name}"
    return route_pb2.Backend(service=service, port=ref.port or 0, weight=weight, invalid=found[1] if found else "")


def wrong_backend(world: World, namespace: str, ref: BackendObject) -> tuple[str, str] | None:
    """The field and the reason why a backend cannot serve; None when it can."""
    its = ref.namespace or namespace
    if (ref.group, ref.kind) != ("", "Service"):
        return "kind", f"{ref.kind} cannot be a backend; write a Service"
    service = world.service(its, ref.name)
    if service is None:
        near = did_you_mean(
            ref.name, [name for kind, space, name in world.objects if (kind, space) == ("Service", its)]
        )
        return "name", f"Service {its}/{ref.name} does not exist{near}"
    ports = [str(port.port) for port in service.spec.carried]
    if ref.port is None:
        return "port", f"a backend Service needs a port; {its}/{ref.name} has {', '.join(ports)}"
    if str(ref.port) not in ports:
        return "port", f"Service {its}/{ref.name} has no port {ref.port}; it has {', '.join(ports)}"
    return None


def wrong_parent(world: World, namespace: str, ref: ParentRef) -> tuple[str, str] | None:
    """The field and the reason why a Service is no parent; None when it is one. Without a port it is all of them."""
    service = world.service(ref.namespace or namespace, ref.name)
    if service is not None and not has_front(service):
        return "name", f"Service {full_name(service.metadata)} has no address of its own that a route could shape"
    found = wrong_backend(world, namespace, BackendObject(name=ref.name, namespace=ref.namespace, port=ref.port))
    return None if found and found[0] == "port" and ref.port is None else found


def has_front(service: Service) -> bool:
    """Whether a Service is called at an address of its own: not where it is headless, or a name for a host outside."""
    return service.spec.type != "ExternalName" and service.spec.cluster_ip != "None"


def check_backends(
    world: World, stored: StoredObject, path: Path, refs: Sequence[BackendObject], share: str
) -> Iterator[Problem]:
    """`share`: what becomes of the share of one that cannot serve."""
    for index, ref in enumerate(refs):
        found = wrong_backend(world, stored.resource.metadata.namespace, ref)
        if found:
            yield stored.problem((*path, "backendRefs", index, found[0]), f"{found[1]}; its share {share}")
