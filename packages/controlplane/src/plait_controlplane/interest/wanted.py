"""What one proxy must know: its workloads with their policies and plugins, and what it asked for. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from plait_sdk.contracts import discovery_pb2, resource_pb2

from plait_controlplane.interest.publication import Key, Publication


@dataclass(frozen=True)
class Wanted:
    """Keys in the order of a push; of the destinations, those that the mesh has and those that it has not."""

    keys: tuple[Key, ...]
    known: frozenset[str]
    unknown: frozenset[str]


def wanted(publication: Publication, workloads: Iterable[str], destinations: Iterable[str]) -> Wanted:
    """A destination brings its Service, its endpoints, the routes that bind this proxy, and all that those name.

    One that is the address of a workload brings that workload alone.
    """
    keys: set[Key] = {(resource_pb2.RESOURCE_KIND_MESH, "default")}
    namespaces = {""}
    for workload in workloads:
        namespaces.add(workload.partition("/")[0])
        keys.add((resource_pb2.RESOURCE_KIND_WORKLOAD, workload))
        keys.update(publication.policies.get(workload, ()))
        keys.update(publication.plugins.get(workload, ()))
    known, unknown = set(), set()
    for destination in destinations:
        found = _found(publication, destination)
        if found is None:
            unknown.add(destination)
            continue
        known.add(destination)
        if found[0] == resource_pb2.RESOURCE_KIND_DIRECT:
            keys.add(found)
            continue
        keys.update(_service(found[1]))
        for route in publication.routes.get(found[1], ()):
            if route.consumer_namespace in namespaces:
                keys.add(route.key)
                for backend in route.backends:
                    keys.update(_service(backend))
    present = (key for key in keys if key in publication.resources)
    return Wanted(tuple(sorted(present, key=publication.order.__getitem__)), frozenset(known), frozenset(unknown))


def whole(publication: Publication, workload: str) -> discovery_pb2.ChangeSet:
    """What the proxy of a workload would hold if it had dialled everything: for questions, never for a stream."""
    dialled = (resource_pb2.RESOURCE_KIND_SERVICE, resource_pb2.RESOURCE_KIND_DIRECT)
    names = [name for kind, name in publication.resources if kind in dialled]
    all_of_it = wanted(publication, [workload], [*names, *publication.addresses])
    return discovery_pb2.ChangeSet(
        nonce=1,
        generation=publication.generation,
        upserts=[publication.resources[key] for key in all_of_it.keys],
        known=sorted(all_of_it.known),
    )


def _found(publication: Publication, destination: str) -> Key | None:
    """The Service of that name or at that address, else who has the address itself; None when the mesh has neither."""
    name = publication.addresses.get(destination, destination)
    for key in ((resource_pb2.RESOURCE_KIND_SERVICE, name), (resource_pb2.RESOURCE_KIND_DIRECT, destination)):
        if key in publication.resources:
            return key
    return None


def _service(name: str) -> tuple[Key, Key]:
    return (resource_pb2.RESOURCE_KIND_SERVICE, name), (resource_pb2.RESOURCE_KIND_ENDPOINTS, name)
