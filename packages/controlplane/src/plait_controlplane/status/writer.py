"""Writes into the objects of a cluster what became of them: conditions, by the replica that holds the Lease.

Run by `process`. One write a change: a change is waited for until the proxies have it, for a short while. What others
wrote into a status stays; what is said already is not said again; a write never overwrites what it has not seen.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opentelemetry import metrics

from plait_controlplane.apiserver import MERGE_PATCH, ApiError, ApiServer, Object
from plait_controlplane.interest.publication import Publication
from plait_controlplane.resources.kinds import CONTROLLER
from plait_controlplane.resources.reader import Key
from plait_controlplane.sources.lastgood import Settled, Verdict
from plait_controlplane.sources.stores import is_ours
from plait_controlplane.status.conditions import Condition, of_object, of_parent
from plait_controlplane.status.events import Events
from plait_controlplane.status.lease import Lease
from plait_controlplane.status.programmed import programming
from plait_controlplane.status.proxies import ProxyState

LOG = logging.getLogger(__name__)
METER = metrics.get_meter(__name__)
WRITES = METER.create_counter("plait_status_writes_total", description="Statuses written.")

TICK_SECONDS = 0.1
# Proxies have a change within a few hundred milliseconds; who has not after this is worth a word.
PATIENCE_SECONDS = 2.0
TRIES = 5


@dataclass(frozen=True)
class Told:
    """What is in force, and who has it."""

    settled: Settled
    publication: Publication
    proxies: tuple[ProxyState, ...]


PathOf = Callable[[Key], str | None]
"""Where an object is in the API; None where its kind is not installed."""


class StatusWriter:
    """Use: `run` until cancelled."""

    def __init__(self, api: ApiServer, lease: Lease, path_of: PathOf, told: Callable[[], Told]) -> None:
        self._api = api
        self._lease = lease
        self._path_of = path_of
        self._told = told
        self._events = Events(api)
        self._written: dict[Key, Object] = {}
        self._done: tuple[Any, ...] = ()

    async def run(self) -> None:
        """Holds the Lease when it can, and writes while it does."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lease.run())
            tasks.create_task(self._write_on())

    async def _write_on(self) -> None:
        clock = asyncio.get_running_loop().time
        since: float | None = None  # when something was first seen that is not written yet
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self._lease.held:
                self._done = ()
                continue
            told = self._told()
            mark = (id(told.settled), told.publication.generation, *(_mark(one) for one in told.proxies))
            if mark == self._done:
                continue
            since = since or clock()
            if self._is_under_way(told) and clock() < since + PATIENCE_SECONDS:
                continue
            if await self._write_all(told):
                self._done, since = mark, None

    def _is_under_way(self, told: Told) -> bool:
        number = told.publication.generation
        return any(not (one.settled and one.generation == number) for one in told.proxies)

    async def _write_all(self, told: Told) -> bool:
        """False when something is to be tried again."""
        verdicts = {(one.kind, one.namespace, one.name): one for one in told.settled.verdicts}
        whole = True
        for key, item in told.settled.seen.items():
            if not self._lease.held:
                return False
            try:
                await self._write(key, item, told, verdicts.get(key))
            except ApiError as error:
                whole = whole and not error.is_away
                LOG.warning("the status of %s: %s", " ".join(key), error.message)
                if error.is_away:
                    await asyncio.sleep(max(1.0, error.retry_after_seconds))
        try:
            await self._events.announce(told.settled.world.cluster.plain.values())
        except ApiError as error:
            LOG.warning("events: %s", error.message)
            whole = False
        for gone in self._written.keys() - told.settled.seen.keys():
            del self._written[gone]
        return whole

    async def _write(self, key: Key, item: Object, told: Told, verdict: Verdict | None) -> None:
        """At most one write that counts; when somebody else was faster, on top of what they wrote."""
        path = self._path_of(key)
        if path is None:
            return
        generation = int(item["metadata"].get("generation") or 0)
        current = self._newest(key, item)
        for _ in range(TRIES):
            if int(current["metadata"].get("generation") or 0) != generation:
                return  # changed since: it is judged anew in a moment
            wanted = _wanted(current, generation, told, key, verdict)
            if wanted is None:
                return
            meta = {"resourceVersion": current["metadata"]["resourceVersion"]}
            try:
                body = {"metadata": meta, "status": wanted}
                self._written[key] = await self._api.ask("PATCH", f"{path}/status", body, content=MERGE_PATCH)
                WRITES.add(1)
                return
            except ApiError as error:
                if error.status == 404:
                    return  # it is gone
                if error.status != 409:
                    raise
            current = await self._api.ask("GET", path)

    def _newest(self, key: Key, item: Object) -> Object:
        """Our own word may not have come back to us yet."""
        mine = self._written.get(key)
        if mine is None or mine["metadata"].get("uid") != item["metadata"].get("uid"):
            return item
        return mine if _version(mine) > _version(item) else item


def _mark(state: ProxyState) -> tuple[Any, ...]:
    return state.proxy, state.generation, state.settled, len(state.rejections)


def _version(item: Object) -> int:
    version = str(item["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0


def _wanted(current: Object, generation: int, told: Told, key: Key, verdict: Verdict | None) -> Object | None:
    """The part of the status to write; None when it says all of it already."""
    status = current.get("status") or {}
    if not key[0].endswith("Route"):
        if verdict is None:
            return None
        wanted = of_object(verdict, programming(told.publication, told.proxies, key))
        conditions = merged(status.get("conditions") or [], wanted, generation)
        return None if conditions == (status.get("conditions") or []) else {"conditions": conditions}
    before = status.get("parents") or []
    others = [entry for entry in before if entry.get("controllerName") != CONTROLLER]
    mine = [entry for entry in before if entry.get("controllerName") == CONTROLLER]
    parents = [parent for parent in (current.get("spec") or {}).get("parentRefs") or () if is_ours(parent)]
    entries = []
    if verdict is not None:
        progress = programming(told.publication, told.proxies, key)
        for index, parent in enumerate(parents):
            said: Object = next((entry for entry in mine if entry.get("parentRef") == parent), {})
            conditions = merged(said.get("conditions") or [], of_parent(verdict, index, progress), generation)
            entries.append({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions})
    return None if mine == entries else {"parents": [*others, *entries]}


def merged(before: list[Object], wanted: list[Condition], generation: int) -> list[Object]:
    """As Kubernetes writes them. A condition that does not turn keeps the time of its last turn."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = []
    for one in wanted:
        status = "True" if one.is_true else "False"
        last: Object = next((said for said in before if said.get("type") == one.type), {})
        turned = last.get("lastTransitionTime") if last.get("status") == status else None
        found.append(
            {
                "type": one.type,
                "status": status,
                "reason": one.reason,
                "message": one.message,
                "observedGeneration": generation,
                "lastTransitionTime": turned or now,
            }
        )
    return found
