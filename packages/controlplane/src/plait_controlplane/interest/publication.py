"""One generation of the world as proxies are told it: made once a change, shared by all streams.

Made by `app`; read by `interest.wanted`, by the streams and by the API. Immutable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plait_sdk.contracts import discovery_pb2, mesh_pb2, resource_pb2, route_pb2, service_pb2, workload_pb2

from plait_controlplane.translate.everything import Translation
from plait_controlplane.translate.names import resource

Key = tuple[resource_pb2.ResourceKind.ValueType, str]
"""Kind and name of a resource."""


@dataclass(frozen=True)
class RouteNeed:
    """What comes with a route: whom it binds, and the Services that it names."""

    key: Key
    consumer_namespace: str
    backends: tuple[str, ...]


@dataclass(frozen=True)
class RouteFacts:
    """Of a route: each parent with the namespace whose clients it binds, and the Services that it names."""

    parents: tuple[tuple[str, str], ...]
    backends: tuple[str, ...]


@dataclass(frozen=True)
class ServiceFacts:
    """Of a Service: where it is called."""

    addresses: tuple[str, ...]


@dataclass(frozen=True)
class WorkloadFacts:
    """Of a workload: what comes with it, and its SPIFFE ID without the trust domain."""

    policies: tuple[Key, ...]
    plugins: tuple[Key, ...]
    path: str


Facts = RouteFacts | ServiceFacts | WorkloadFacts | None
"""What the indexes are made of; None for kinds that are in none."""


@dataclass(frozen=True)
class Publication:
    """Resources in the order of a push, and the indexes that `wanted` reads."""

    generation: int
    resources: Mapping[Key, resource_pb2.Resource]
    wire: Mapping[Key, bytes]
    """Each resource as the bytes of a ChangeSet that holds it alone: protobuf messages merge when they are joined."""
    facts: Mapping[Key, Facts]
    order: Mapping[Key, int]
    routes: Mapping[str, tuple[RouteNeed, ...]]
    """By the Service that they shape."""
    policies: Mapping[str, tuple[Key, ...]]
    """By workload."""
    plugins: Mapping[str, tuple[Key, ...]]
    """By workload."""
    identities: Mapping[str, str]
    """The SPIFFE ID of each workload."""
    addresses: Mapping[str, str]
    """The Service that is called at an IP address."""


def resources_of(translation: Translation, roots: Iterable[bytes]) -> dict[Key, resource_pb2.Resource]:
    """The translation by key, the roots (DER) added to the Mesh."""
    found: dict[Key, resource_pb2.Resource] = {}
    for one in translation.resources:
        if one.kind == resource_pb2.RESOURCE_KIND_MESH:
            mesh = mesh_pb2.Mesh.FromString(one.body)
            mesh.trust_bundle.extend(roots)
            one = resource(one.kind, one.name, mesh)
        found[one.kind, one.name] = one
    return found


def publish(
    generation: int, resources: Mapping[Key, resource_pb2.Resource], before: Publication | None = None
) -> Publication:
    """Serialises each resource once and builds the indexes. What is the same as `before` is taken from there."""
    routes: dict[str, list[RouteNeed]] = {}
    policies: dict[str, tuple[Key, ...]] = {}
    plugins: dict[str, tuple[Key, ...]] = {}
    identities: dict[str, str] = {}
    addresses: dict[str, str] = {}
    wire: dict[Key, bytes] = {}
    facts: dict[Key, Facts] = {}
    mesh = resources[resource_pb2.RESOURCE_KIND_MESH, "default"]
    trust_domain = mesh_pb2.Mesh.FromString(mesh.body).trust_domain
    for key, one in resources.items():
        same = before is not None and before.resources.get(key) is one
        wire[key] = before.wire[key] if before and same else discovery_pb2.ChangeSet(upserts=[one]).SerializeToString()
        found = facts[key] = before.facts[key] if before and same else _facts(key, one)
        match found:
            case RouteFacts():
                for parent, consumer in found.parents:
                    routes.setdefault(parent, []).append(RouteNeed(key, consumer, found.backends))
            case ServiceFacts():
                for address in found.addresses:
                    addresses.setdefault(address, one.name)
            case WorkloadFacts():
                policies[one.name], plugins[one.name] = found.policies, found.plugins
                identities[one.name] = f"spiffe://{trust_domain}/{found.path}"
    return Publication(
        generation=generation,
        resources=resources,
        wire=wire,
        facts=facts,
        order={key: index for index, key in enumerate(resources)},
        routes={service: tuple(needs) for service, needs in routes.items()},
        policies=policies,
        plugins=plugins,
        identities=identities,
        addresses=addresses,
    )


def _facts(key: Key, one: resource_pb2.Resource) -> Facts:
    if one.kind == resource_pb2.RESOURCE_KIND_ROUTE:
        route = route_pb2.Route.FromString(one.body)
        parents = tuple((parent.service, parent.consumer_namespace) for parent in route.parents)
        return RouteFacts(parents, tuple(sorted(_backends(route))))
    if one.kind == resource_pb2.RESOURCE_KIND_SERVICE:
        return ServiceFacts(tuple(service_pb2.Service.FromString(one.body).addresses))
    if one.kind == resource_pb2.RESOURCE_KIND_WORKLOAD:
        workload = workload_pb2.Workload.FromString(one.body)
        names = [*(one.name for one in workload.inbound_plugins), *(one.name for one in workload.outbound_plugins)]
        return WorkloadFacts(
            tuple((resource_pb2.RESOURCE_KIND_POLICY, ref.name) for ref in workload.policies),
            tuple((resource_pb2.RESOURCE_KIND_PLUGIN, name) for name in names),
            f"ns/{workload.namespace}/sa/{workload.service_account}",
        )
    return None


def _backends(route: route_pb2.Route) -> Iterable[str]:
    found: set[str] = set()
    for rule in route.rules:
        filters = list(rule.filters)
        for backend in rule.backends:
            found.add(backend.service)
            filters.extend(backend.filters)
        found.update(one.mirror.backend.service for one in filters if one.HasField("mirror"))
    return found
