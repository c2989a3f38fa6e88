"""The source that is a cluster: every kind that shapes the mesh, followed by list and watch.

Implements `source.Source` for `app`. Nothing is told before every kind was listed once, and no error ever empties what
is known. The number of a generation is the highest resourceVersion among the objects and events that it holds, so that
replicas, and a control plane that starts again, count alike.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from plait_controlplane.apiserver import ApiError, ApiServer, Object
from plait_controlplane.resources.cluster import Cluster, PlainPod, Slice
from plait_controlplane.resources.reader import Key, StoredObject
from plait_controlplane.resources.workload import Workload
from plait_controlplane.resources.world import World
from plait_controlplane.sources import pods
from plait_controlplane.sources.history import Generation
from plait_controlplane.sources.installed import Kind, find, watched
from plait_controlplane.sources.lastgood import Settled
from plait_controlplane.sources.ports import INBOUND, OUTBOUND
from plait_controlplane.sources.reflector import Pace, Reflector
from plait_controlplane.sources.source import Reading
from plait_controlplane.sources.stores import ObjectStore, Store
from plait_controlplane.translate.names import full_name, join
from plait_controlplane.translate.workload import Listeners, called_at

LOG = logging.getLogger(__name__)
T = TypeVar("T")


ANYWHERE = join("0.0.0.0", INBOUND)
OWN_OUTBOUND = join("127.0.0.1", OUTBOUND)


@dataclass(frozen=True)
class Joining:
    """Seconds. Events that come close to one another are one change: so many are quiet, or so many have gone by."""

    quiet: float = 0.02
    longest: float = 0.1
    look_again: float = 30.0
    """How often kinds that are not installed are looked for."""
    pace: Pace = field(default_factory=Pace)


class KubernetesSource:
    """One cluster."""

    def __init__(self, api: ApiServer, joining: Joining | None = None) -> None:
        self.api = api
        self._joining = joining or Joining()
        self._dirty = asyncio.Event()
        self._synced = asyncio.Event()
        self._kinds = {kind.name: kind for kind in watched()}
        self._objects = {kind.name: ObjectStore(kind, self._changed) for kind in self._kinds.values() if kind.model}
        self._pods: Store[Object] = Store(self._kinds["Pod"], pods.cut, self._changed)
        self._nodes: Store[str] = Store(self._kinds["Node"], pods.zone, self._changed)
        self._namespaces: Store[str] = Store(self._kinds["Namespace"], pods.asked, self._changed)
        self._slices: Store[tuple[str, Slice]] = Store(self._kinds["EndpointSlice"], pods.endpoint_slice, self._changed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._told: dict[str, str] = {}
        self._made: dict[str, tuple[Object, tuple[str, str], Workload | PlainPod]] = {}
        self._cluster: tuple[tuple[int, ...], Cluster] = ((), Cluster())
        self.versions: dict[str, str] = {}
        """The version in which each kind is installed, by the kind's name."""

    @property
    def absent(self) -> list[str]:
        """Kinds that the cluster does not have, as people name them."""
        return [kind.title for name, kind in self._kinds.items() if name not in self.versions]

    async def start(self) -> None:
        """Begins to listen."""
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Stops listening."""
        tasks = [task for task in (self._looking, *self._tasks.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.api.close()

    async def read(self) -> Reading:
        """What is known now; waits until everything was listed once."""
        await self._synced.wait()
        self._dirty.clear()
        stores = self._objects.values()
        found: dict[Key, StoredObject] = {one.key: one for store in stores for one in store.objects.values()}
        problems = [problem for store in stores for some in store.problems.values() for problem in some]
        broken = [
            (problems[0].file, store.broken[name]) for store in stores for name, problems in store.problems.items()
        ]
        seen = {_key(store.kind, item): item for store in stores if store.kind.group for item in store.raw.values()}
        return Reading(World(dict(sorted(found.items())), self._cluster_now()), problems, broken, seen=seen)

    async def changes(self) -> AsyncGenerator[None]:
        """At first, and whenever something that counts has changed and it is quiet again."""
        clock = asyncio.get_running_loop().time
        yield
        while True:
            await self._dirty.wait()
            latest = clock() + self._joining.longest
            while self._dirty.is_set() and clock() < latest:
                self._dirty.clear()
                await asyncio.sleep(min(self._joining.quiet, max(0.0, latest - clock())))
            yield

    def last(self) -> Generation:
        """Nothing remembers: the cluster is asked anew."""
        return Generation()

    def number(self, before: int) -> int:
        """Higher than before, whatever the cluster says."""
        return max(before + 1, *(store.highest for store in self._stores()))

    def covers(self, generation: int) -> bool:
        """Whether every kind was heard up to there."""
        listed = [store.position for store in self._stores() if store.kind.name in self.versions]
        return self._synced.is_set() and generation <= min(listed, default=0)

    async def keep(self, generation: Generation, settled: Settled) -> None:
        """The cluster keeps its own objects."""

    def listeners(self, world: World) -> dict[str, Listeners]:
        """Of pods where redirection leads; of Workloads beside the cluster as written, else at the same ports."""
        found = {}
        for workload in world.workloads:
            name, address, sidecar = full_name(workload.metadata), workload.spec.address, workload.spec.sidecar
            if name in world.cluster.pods:
                found[name] = Listeners(ANYWHERE, OWN_OUTBOUND, join(address, INBOUND))
                continue
            inbound, outbound = sidecar.inbound or ANYWHERE, sidecar.outbound or OWN_OUTBOUND
            found[name] = Listeners(inbound, outbound, called_at(inbound, self._told.get(name, address)))
        return found

    async def reached(self, workloads: Sequence[str], address: str) -> bool:
        """Believed of Workloads; where a pod is, the cluster knows."""
        told = {name: address for name in workloads if name not in self._pods.items}
        news = {**self._told, **told} != self._told
        self._told.update(told)
        return news

    def path(self, key: Key) -> str | None:
        """Where an object is in the API; None where its kind is not installed."""
        kind, namespace, name = key
        if kind not in self.versions:
            return None
        return self._kinds[kind].object_path(self.versions[kind], namespace, name)

    def _stores(self) -> list[Store[Any]]:
        return [*self._objects.values(), self._pods, self._nodes, self._namespaces, self._slices]

    def _changed(self) -> None:
        self._dirty.set()
        self._judge()

    def _judge(self) -> None:
        """Whether everything was listed once."""
        missing = [store for store in self._stores() if not store.is_listed and store.kind.name in self.versions]
        required = all(name in self.versions for name, kind in self._kinds.items() if kind.is_required)
        if required and not missing:
            self._synced.set()

    def _cluster_now(self) -> Cluster:
        """The same value as long as nothing of it changed: others remember what they made of it."""
        editions = tuple(one.edition for one in (self._pods, self._nodes, self._namespaces, self._slices))
        if self._cluster[0] != editions:
            self._cluster = (editions, self._gather())
        return self._cluster[1]

    def _gather(self) -> Cluster:
        made = {}
        for name, item in self._pods.items.items():
            zone, asked = (
                self._nodes.items.get(str(item["node"]), ""),
                self._namespaces.items.get(item["namespace"], ""),
            )
            before = self._made.get(name)
            try:
                kept = (
                    before[2]
                    if before and before[0] is item and before[1] == (zone, asked)
                    else pods.pod(item, zone, asked)
                )
            except ValidationError:
                LOG.exception("pod %s cannot be a workload", name)
                continue
            made[name] = (item, (zone, asked), kept)
        self._made = made
        slices: dict[str, list[Slice]] = {}
        for _, (service, one) in sorted(self._slices.items.items()):
            slices.setdefault(service, []).append(one)
        before_slices = self._cluster[1].slices
        return Cluster(
            pods={name: pod for name, (_, _, pod) in made.items() if isinstance(pod, Workload)},
            plain={name: pod for name, (_, _, pod) in made.items() if isinstance(pod, PlainPod)},
            slices={name: _same(before_slices.get(name), tuple(found)) for name, found in slices.items()},
        )

    async def _look(self) -> None:
        """Starts a reflector for each kind that is installed, and goes on looking for the others."""
        while True:
            try:
                found = await find(self.api, self._kinds.values())
            except ApiError as error:
                LOG.warning("which kinds the cluster has is not known: %s", error.message)
                await asyncio.sleep(max(1.0, error.retry_after_seconds))
                continue
            news = {name: version for name, version in found.items() if name not in self.versions}
            first, self.versions = not self.versions, {**self.versions, **news}
            for name, version in news.items():
                self._tasks[name] = asyncio.create_task(self._follow(self._kinds[name], version))
            if (first or news) and self.absent:
                LOG.warning("not installed in the cluster, and looked for again: %s", ", ".join(self.absent))
            self._judge()
            await asyncio.sleep(self._joining.look_again)

    async def _follow(self, kind: Kind, version: str) -> None:
        """Until the kind itself is gone: only when the server says so twice is what it had forgotten."""
        store = next(store for store in self._stores() if store.kind is kind)
        while True:
            try:
                await Reflector(self.api, kind.path(version), store, self._joining.pace, kind.metadata_only).run()
            except ApiError as error:
                LOG.error("%s: %s", kind.title, error.message)
            await asyncio.sleep(self._joining.look_again / 2)
            try:
                if kind.name in await find(self.api, [kind]):
                    continue
            except ApiError:
                continue
            LOG.error("%s is no longer installed: what it had is gone", kind.title)
            del self.versions[kind.name]
            store.is_listed = False
            store.clear()
            return


def _key(kind: Kind, item: Object) -> Key:
    meta = item["metadata"]
    return kind.name, str(meta.get("namespace", "")), str(meta["name"])


def _same(before: T | None, now: T) -> T:
    return before if before is not None and before == now else now
