"""One kind of a cluster, followed: listed page by page, then watched for as long as it takes. Called by `kubernetes`.

What was listed stays until the next list is whole: an error never empties anything. A watch that ends goes on where it
was; only when the server no longer knows that place (410) is everything listed again, after a pause that differs from
replica to replica.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import metrics

from plait_controlplane.apiserver import ApiError, ApiServer, Object

LOG = logging.getLogger(__name__)
METER = metrics.get_meter(__name__)
LISTS = METER.create_counter("plait_source_lists_total", description="Kinds of a cluster that were listed.")
EVENTS = METER.create_counter("plait_source_events_total", description="Events of watches.")
FAILURES = METER.create_counter("plait_source_failures_total", description="Lists and watches that failed.")


@dataclass(frozen=True)
class Pace:
    """Seconds, and objects a page. A test makes them short."""

    page: int = 500
    watch: float = 300.0
    """How long the server is asked to keep a watch open; a tenth more or less, so that not all end at once."""
    quiet: float = 90.0
    """A server sends a bookmark a minute."""
    backoff: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    longest: float = 60.0
    """The longest that a server may make us wait by Retry-After."""
    relist: float = 2.0
    """After a 410 at most so long, at random."""


class Sink(Protocol):
    """Who is told."""

    def listed(self, objects: list[Object], version: int) -> None:
        """Everything that there is, as of `version`."""
        ...

    def changed(self, kind: str, item: Object, version: int) -> None:
        """`kind` is ADDED, MODIFIED or DELETED."""
        ...

    def reached(self, version: int) -> None:
        """Nothing else happened until `version`."""
        ...


PLAIN = ("application/json", "application/json")
PARTIAL = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
)
"""How a list and the events of a watch are asked for; partial: names and labels alone."""


class Gone(Exception):
    """The server no longer knows the place where the watch was."""


class Reflector:
    """Use: `run` until cancelled. Raises ApiError with status 404 when the kind is not there any more."""

    jitter: Callable[[], float] = staticmethod(random.random)

    def __init__(self, api: ApiServer, path: str, sink: Sink, pace: Pace, partial: bool = False) -> None:
        self._api = api
        self._path = path
        self._sink = sink
        self._pace = pace
        self._list_accept, self._watch_accept = PARTIAL if partial else PLAIN
        self._failures = 0
        self._version = ""

    async def run(self) -> None:
        """Lists and watches."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone as gone:
                LOG.info("%s: %s; listing again", self._path, gone)
                self._version = ""
                await asyncio.sleep(self._pace.relist * self.jitter())
            except ApiError as error:
                if error.status == 404:
                    raise
                await self._pause(error)

    async def _list(self) -> None:
        """All pages of one moment. A list that takes so long that its moment is forgotten begins anew."""
        query = {"limit": str(self._pace.page)}
        found: list[Object] = []
        while True:
            try:
                page = await self._api.ask("GET", self._path, query=query, accept=self._list_accept)
            except ApiError as error:
                if error.status == 410:
                    raise Gone("the list was not ended in time") from error
                raise
            found.extend(page.get("items") or [])
            meta = page.get("metadata", {})
            if not meta.get("continue"):
                break
            query = {"limit": str(self._pace.page), "continue": str(meta["continue"])}
        self._version = str(meta.get("resourceVersion", ""))
        self._failures = 0
        LISTS.add(1)
        self._sink.listed(found, number(self._version))

    async def _watch(self) -> None:
        seconds = self._pace.watch * (0.9 + 0.2 * self.jitter())
        query = {"resourceVersion": self._version, "timeoutSeconds": str(max(1, round(seconds)))}
        try:
            async for event in self._api.watch(self._path, query, self._pace.quiet, self._watch_accept):
                self._take(event)
                self._failures = 0
        except ApiError as error:
            if error.status == 410:
                raise Gone("the place of the watch is forgotten") from error
            raise

    def _take(self, event: Object) -> None:
        kind, item = str(event.get("type")), event.get("object") or {}
        if kind == "ERROR":
            code, message = int(item.get("code") or 0), str(item.get("message") or "the watch failed")
            raise Gone(message) if code == 410 else ApiError(code or 500, str(item.get("reason") or ""), message)
        version = str(item.get("metadata", {}).get("resourceVersion", ""))
        if kind == "BOOKMARK":
            self._sink.reached(number(version))
        elif kind in ("ADDED", "MODIFIED", "DELETED"):
            EVENTS.add(1)
            self._sink.changed(kind, item, number(version))
        else:
            return
        self._version = version

    async def _pause(self, error: ApiError) -> None:
        FAILURES.add(1)
        pause = self._pace.backoff[min(self._failures, len(self._pace.backoff) - 1)] * (0.5 + 0.5 * self.jitter())
        pause = min(max(pause, error.retry_after_seconds), self._pace.longest)
        self._failures += 1
        LOG.warning("%s: %s; asking again in %.1f s, what is known stays", self._path, error.message, pause)
        await asyncio.sleep(pause)


def number(version: str) -> int:
    """A resourceVersion as a number: those of one server can be compared (a promise since Kubernetes 1.35)."""
    return int(version) if version.isdigit() else 0
