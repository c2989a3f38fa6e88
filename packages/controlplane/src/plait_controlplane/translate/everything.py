"""The whole world as contract resources. The order of a push stands here: what is named comes before what names it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from plait_sdk.contracts import discovery_pb2, endpoint_pb2, resource_pb2, route_pb2, workload_pb2

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.grpcroute import GRPCRoute
from plait_controlplane.resources.httproute import HTTPRoute
from plait_controlplane.resources.mesh import Mesh, MeshSpec
from plait_controlplane.resources.plugin import Plugin
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.service import Service
from plait_controlplane.resources.streamroute import TCPRoute, TLSRoute
from plait_controlplane.resources.trafficpolicy import TrafficPolicy
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.translate.attachment import Route, Winners, routes, winners
from plait_controlplane.translate.backend import check_backend
from plait_controlplane.translate.direct import own_addresses, translate_direct
from plait_controlplane.translate.grpcroute import check_grpc_route, translate_grpc_route
from plait_controlplane.translate.memo import Memo
from plait_controlplane.translate.mesh import check_mesh, translate_mesh
from plait_controlplane.translate.names import full_name, resource
from plait_controlplane.translate.places import made_of
from plait_controlplane.translate.plugin import Order, attach, check_plugin, order, translate_plugin
from plait_controlplane.translate.policy import check_policy, translate_policy
from plait_controlplane.translate.route import check_route, translate_route
from plait_controlplane.translate.service import check_service, cluster_ips, translate_endpoints, translate_service
from plait_controlplane.translate.streamroute import check_stream_route, translate_stream_route
from plait_controlplane.translate.traffic import check_traffic, policies
from plait_controlplane.translate.workload import Listeners, check_workload, translate_workload


@dataclass(frozen=True)
class Translation:
    """Every resource of the world, and all that can be called: Services by name and address, workloads by address."""

    resources: list[resource_pb2.Resource]
    destinations: list[str]

    def change_set(self, generation: int) -> discovery_pb2.ChangeSet:
        """The whole world as one change set, for a proxy or a question that may see all of it."""
        return discovery_pb2.ChangeSet(nonce=1, generation=generation, upserts=self.resources, known=self.destinations)


def translate(world: World, listeners: Mapping[str, Listeners], memo: Memo | None = None) -> Translation:
    """`listeners` gives each workload's by its full name; the source knows them."""
    memo = memo or Memo()
    memo.begin()
    mesh = world.mesh()
    spec = mesh.spec if mesh else MeshSpec()
    traffic = policies(world)
    inbound = {name: where.called_at for name, where in listeners.items()}
    kind = resource_pb2
    found = [resource(kind.RESOURCE_KIND_MESH, "default", translate_mesh(spec))]
    services = [service for _, service in world.kind(Service)]
    settings = memo.edition("settings", (mesh, tuple(traffic)))
    for service in services:
        found.extend(_served(memo, settings, world, spec, service, traffic, inbound))
    won = winners(world)
    for route in routes(world):
        message = _route(world, route, traffic, won)
        if message:
            found.append(resource(kind.RESOURCE_KIND_ROUTE, f"{route.kind}/{full_name(route.metadata)}", message))
    for _, policy in world.kind(AuthorizationPolicy):
        found.append(resource(kind.RESOURCE_KIND_POLICY, full_name(policy.metadata), translate_policy(policy)))
    plugins = order(world)
    for plugin in plugins.plugins:
        found.append(resource(kind.RESOURCE_KIND_PLUGIN, full_name(plugin.metadata), translate_plugin(plugin)))
    found.extend(_workloads(memo, settings, world, spec, traffic, plugins, listeners))
    names = [full_name(service.metadata) for service in services]
    addresses = [address for service in services for address in cluster_ips(service)]
    directs = [one.name for one in found if one.kind == kind.RESOURCE_KIND_DIRECT]
    return Translation(found, [*names, *addresses, *directs])


def _served(
    memo: Memo,
    settings: int,
    world: World,
    mesh: MeshSpec,
    service: Service,
    traffic: list[TrafficPolicy],
    inbound: Mapping[str, str],
) -> Iterator[resource_pb2.Resource]:
    """A Service and its endpoints."""
    name, kind = full_name(service.metadata), resource_pb2
    key, inputs = (kind.RESOURCE_KIND_SERVICE, name), (service, settings)
    yield memo.made(key, inputs, lambda: translate_service(service, traffic))
    key, places = (kind.RESOURCE_KIND_ENDPOINTS, name), made_of(world, service, inbound)
    yield memo.made(key, (*inputs, places), lambda: translate_endpoints(world, mesh, service, inbound))


def _workloads(
    memo: Memo,
    settings: int,
    world: World,
    mesh: MeshSpec,
    traffic: list[TrafficPolicy],
    plugins: Order,
    listeners: Mapping[str, Listeners],
) -> Iterator[resource_pb2.Resource]:
    """Every workload, and what answers at its own address."""
    own, kind = own_addresses(world.workloads), resource_pb2
    guards = tuple(policy for _, policy in world.kind(AuthorizationPolicy))
    # What a Plugin stands on may be any object.
    named = (tuple(plugins.plugins), tuple(world.objects)) if plugins.plugins else ()
    rules = memo.edition("rules", (guards, named))
    for workload in world.workloads:
        name = full_name(workload.metadata)
        where, services, is_pod = listeners[name], tuple(world.services_of(workload)), name in world.cluster.pods

        def made(workload: Workload = workload, where: Listeners = where) -> workload_pb2.Workload:
            message = translate_workload(world, workload, where, traffic)
            attach(world, plugins, workload, message)
            return message

        inputs = (workload, where.inbound, where.outbound, services, is_pod, settings, rules)
        served = memo.made((kind.RESOURCE_KIND_WORKLOAD, name), inputs, made)
        yield served
        if workload.spec.address in own:
            message = partial(_direct, mesh, workload, served, where.called_at)
            key = (kind.RESOURCE_KIND_DIRECT, workload.spec.address)
            yield memo.made(key, (workload, served, where.called_at, settings), message)


def _direct(mesh: MeshSpec, workload: Workload, served: resource_pb2.Resource, called_at: str) -> endpoint_pb2.Direct:
    return translate_direct(mesh, workload, workload_pb2.Workload.FromString(served.body), called_at)


def _route(world: World, route: Route, traffic: list[TrafficPolicy], won: Winners) -> route_pb2.Route | None:
    match route:
        case HTTPRoute():
            return translate_route(world, route, traffic, won)
        case GRPCRoute():
            return translate_grpc_route(world, route, traffic, won)
        case TCPRoute() | TLSRoute():
            return translate_stream_route(world, route, won)


def check(world: World) -> list[Problem]:
    """What is wrong with objects that are right each for itself."""
    found: list[Problem] = []
    won, plugins = winners(world), order(world)
    for stored in world.objects.values():
        match stored.resource:
            case Mesh() as mesh:
                found.extend(check_mesh(stored, mesh))
            case Service() as service:
                found.extend(check_service(world, stored, service))
            case Workload() as workload:
                found.extend(check_workload(world, stored, workload))
            case HTTPRoute() as route:
                found.extend(check_route(world, stored, route, won))
            case GRPCRoute() as route:
                found.extend(check_grpc_route(world, stored, route, won))
            case TCPRoute() | TLSRoute() as route:
                found.extend(check_stream_route(world, stored, route, won))
            case AuthorizationPolicy() as policy:
                found.extend(check_policy(world, stored, policy))
            case Plugin() as plugin:
                found.extend(check_plugin(world, stored, plugin, plugins))
            case TrafficPolicy() as policy:
                found.extend(check_traffic(world, stored, policy))
                found.extend(check_backend(stored, policy))
    return found
