"""Plugin -> the Plugin message, in which order Plugins run, and which calls of which workload pass them. Pure.

The code of a Plugin runs beside the workloads of its own namespace alone, that of one in the root namespace beside all:
whoever writes a Plugin can read what passes it, and must not read what passes other teams' proxies.
"""

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass

from plait_sdk.contracts import plugin_pb2, workload_pb2

from plait_controlplane.resources.fields import ObjectName
from plait_controlplane.resources.plugin import Plugin, RefusedPlugin
from plait_controlplane.resources.problem import Problem, did_you_mean
from plait_controlplane.resources.reader import StoredObject
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import ROOT_NAMESPACE, World
from plait_controlplane.translate.names import created, duration, full_name, object_ref, target_port
from plait_controlplane.translate.traffic import ROUTES, check_target

FAILURE = {"Open": plugin_pb2.FAILURE_POLICY_OPEN, "Closed": plugin_pb2.FAILURE_POLICY_CLOSED}

INBOUND = {"Service", "Namespace", "Mesh"}
OUTBOUND = {*INBOUND, *ROUTES}

LEVELS = ("Mesh", "Namespace", "Service")
"""From the wire inwards; a route is innermost."""

MOST = 64
"""Plugins of one direction at one workload: each costs its callers time, and the proxy knows a chain by 64 bits."""


@dataclass(frozen=True)
class Order:
    """All Plugins in running order; and, by full name, the circle of names that one is part of."""

    plugins: tuple[Plugin, ...]
    circles: dict[str, list[str]]


def order(world: World) -> Order:
    """By `order`, else by level, else the oldest first.

    Inbound the Mesh's Plugins come first and those of a Service last; outbound it is the other way round: what the
    platform adds stands nearest to the wire.
    """
    plugins = sorted((plugin for _, plugin in world.kind(Plugin)), key=_rank)
    place = {full_name(plugin.metadata): index for index, plugin in enumerate(plugins)}
    after = _edges(plugins, place)
    waits = {name: set(first) for name, first in after.items()}
    ready = [index for name, index in place.items() if not waits[name]]
    done: list[Plugin] = []
    while ready:
        plugin = plugins[heapq.heappop(ready)]
        name = full_name(plugin.metadata)
        done.append(plugin)
        for other, first in waits.items():
            if name in first:
                first.discard(name)
                if not first:
                    heapq.heappush(ready, place[other])
    left = [plugin for plugin in plugins if plugin not in done]
    names = {full_name(plugin.metadata) for plugin in left}
    circles = {name: circle for name in sorted(names) if (circle := _circle(name, after))}
    return Order((*done, *left), circles)


def _rank(plugin: Plugin) -> tuple[int, int, str]:
    level = min(LEVELS.index(ref.kind) if ref.kind in LEVELS else len(LEVELS) for ref in plugin.spec.target_refs)
    outwards = level if plugin.spec.direction == "Inbound" else -level
    return outwards, created(plugin.metadata), full_name(plugin.metadata)


def _edges(plugins: list[Plugin], place: dict[str, int]) -> dict[str, set[str]]:
    """By name, who runs before it."""
    after: dict[str, set[str]] = {name: set() for name in place}
    for plugin in plugins:
        name = full_name(plugin.metadata)
        for reference in plugin.spec.order.before:
            if (other := _named(plugin, reference)) in after:
                after[other].add(name)
        after[name].update(other for ref in plugin.spec.order.after if (other := _named(plugin, ref)) in after)
    return after


def _circle(name: str, after: dict[str, set[str]]) -> list[str]:
    """The shortest way from a name back to itself, in running order; empty when there is none."""
    paths = [[name]]
    seen: set[str] = set()
    for path in paths:
        for first in sorted(after[path[0]]):
            if first == name:
                return [name, *path]
            if first not in seen:
                seen.add(first)
                paths.append([first, *path])
    return []


def _named(plugin: Plugin, reference: str) -> str:
    return reference if "/" in reference else f"{plugin.metadata.namespace}/{reference}"


def translate_plugin(plugin: Plugin) -> plugin_pb2.Plugin:
    """What a proxy must know to run it."""
    spec = plugin.spec
    return plugin_pb2.Plugin(
        object=object_ref(plugin),
        package=spec.package,
        entry_point=spec.plugin or "",
        version=spec.version,
        digest=spec.digest,
        config=json.dumps(spec.config, sort_keys=True, separators=(",", ":")),
        deadline=duration(spec.limits.deadline),
        memory_bytes=spec.limits.memory,
        body_bytes=spec.limits.body,
        on_error=FAILURE[spec.on_error],
        on_timeout=FAILURE[spec.on_timeout],
        on_load_failure=FAILURE[spec.on_load_failure],
        invalid="it cannot be read, and no version before it is known" if isinstance(plugin, RefusedPlugin) else "",
        group=f"{plugin.metadata.namespace}/{spec.trust_group or 'default'}",
    )


def attach(world: World, found: Order, workload: Workload, message: workload_pb2.Workload) -> None:
    """Names the Plugins of a workload in its message, in running order."""
    for plugin in found.plugins:
        name = full_name(plugin.metadata)
        if plugin.spec.direction == "Inbound":
            if (ports := inbound_ports(world, plugin, workload)) is not None:
                message.inbound_plugins.add(name=name, ports=ports)
        elif (scopes := _scopes(world, plugin, workload)) is not None:
            message.outbound_plugins.add(name=name, scopes=scopes)


def inbound_ports(world: World, plugin: Plugin, workload: Workload) -> list[int] | None:
    """The workload's ports that the Plugin covers; [] = all, None = it does not cover the workload."""
    ports: set[int] = set()
    for ref in plugin.spec.target_refs:
        if _everything(plugin, ref, workload):
            return []
        service = world.service(plugin.metadata.namespace, ref.name) if ref.kind == "Service" else None
        if service and workload in world.selected(service):
            ports |= {port for entry in service.spec.carried if (port := target_port(entry, workload)) is not None}
    return sorted(ports) if ports else None


def _everything(plugin: Plugin, ref: ObjectName, workload: Workload) -> bool:
    namespace = plugin.metadata.namespace
    if ref.kind == "Mesh":
        return namespace == ROOT_NAMESPACE
    return ref.kind == "Namespace" and namespace == workload.metadata.namespace


def _scopes(world: World, plugin: Plugin, workload: Workload) -> list[workload_pb2.CallScope] | None:
    """Which calls of the workload pass the Plugin; [] = all, None = none."""
    namespace = plugin.metadata.namespace
    if any(_everything(plugin, ref, workload) for ref in plugin.spec.target_refs):
        return []
    if namespace != workload.metadata.namespace:
        return None
    found = []
    for ref in plugin.spec.target_refs:
        if (ref.kind, namespace, ref.name) not in world.objects:
            continue
        if ref.kind == "Service":
            found.append(workload_pb2.CallScope(service=f"{namespace}/{ref.name}"))
        elif ref.kind in ROUTES:
            route = f"{ref.kind}/{namespace}/{ref.name}"
            found.append(workload_pb2.CallScope(route=route, rule=ref.section_name or ""))
    return found or None


def check_plugin(world: World, stored: StoredObject, plugin: Plugin, found: Order) -> Iterator[Problem]:
    """Targets that are none, orders that cannot be, and what nothing can run."""
    spec = plugin.spec
    if spec.version and spec.digest:
        yield stored.problem(("spec", "digest"), "write version or digest, not both: a digest is one version")
    for index, ref in enumerate(spec.target_refs):
        path = ("spec", "targetRefs", index)
        if spec.direction == "Inbound" and ref.kind in ROUTES:
            message = f"the destination does not know which {ref.kind} its caller took; write direction: Outbound"
            yield stored.problem((*path, "kind"), message)
            continue
        yield from check_target(world, stored, path, ref, INBOUND if spec.direction == "Inbound" else OUTBOUND)
        service = world.service(plugin.metadata.namespace, ref.name) if ref.kind == "Service" else None
        if service and spec.direction == "Inbound" and not service.spec.selector:
            message = (
                f"Service {ref.name} has no selector: it stands for no workload that an Inbound plugin could run at"
            )
            yield stored.problem((*path, "name"), message)
    yield from _check_order(world, stored, plugin, found)
    yield from _check_count(world, stored, plugin, found)


def _check_order(world: World, stored: StoredObject, plugin: Plugin, found: Order) -> Iterator[Problem]:
    name = full_name(plugin.metadata)
    outer = "before" if plugin.spec.direction == "Inbound" else "after"
    for field in ("before", "after"):
        for index, reference in enumerate(getattr(plugin.spec.order, field)):
            path = ("spec", "order", field, index)
            other = _named(plugin, reference)
            namespace, _, short = other.partition("/")
            one = world.objects.get(("Plugin", namespace, short))
            if one is None or not isinstance(one.resource, Plugin):
                others = [full_name(each.metadata) for each in found.plugins if each is not plugin]
                near = did_you_mean(other, others)
                yield stored.problem(path, f"Plugin {other} does not exist: the order waits for it{near}", "note")
            elif one.resource.spec.direction != plugin.spec.direction:
                message = f"Plugin {other} is {one.resource.spec.direction}: the two never meet"
                yield stored.problem(path, message, "note")
            elif field == outer and namespace == ROOT_NAMESPACE != plugin.metadata.namespace:
                message = f"only Plugins of {ROOT_NAMESPACE} may stand between its Plugins and the wire; remove it"
                yield stored.problem(path, message)
    circle = found.circles.get(name)
    # Who is named by the others alone is not at fault.
    written = next((each for each in ("before", "after") if getattr(plugin.spec.order, each)), None)
    if circle and written:
        message = f"the order is a circle: {' before '.join(circle)}; remove one of these"
        yield stored.problem(("spec", "order", written), message)


def _check_count(world: World, stored: StoredObject, plugin: Plugin, found: Order) -> Iterator[Problem]:
    """The last ones of too many are told."""
    for workload in world.workloads:
        message = workload_pb2.Workload()
        attach(world, found, workload, message)
        for names in (message.inbound_plugins, message.outbound_plugins):
            if full_name(plugin.metadata) in [one.name for one in names[MOST:]]:
                reason = f"Workload {full_name(workload.metadata)} has more than {MOST} Plugins of this direction"
                yield stored.problem(("spec", "targetRefs"), reason)
                return
