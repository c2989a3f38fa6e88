"""The plugin: follows SRV records and tells the control plane each change.

Loaded by the process of the control plane's hooks through the entry point `dns-discovery`. A name server that fails
takes no endpoint away; a name that does not exist does, once that has held for a while.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import dns.asyncresolver
import dns.nameserver
import plait_sdk as plait

from plait_dns_discovery.config import Config, Entry, server
from plait_dns_discovery.lookup import Found, Gone, Unanswered, look_up

LOG = logging.getLogger(__name__)

Look = Callable[[Entry], Awaitable[Found]]
Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


class DnsDiscovery(plait.Plugin[Config]):
    """Gives Services without a selector their endpoints."""

    uses_network = True

    @plait.hookimpl
    async def discover(self, watch: plait.Watch) -> None:
        """Follows every name until it is cancelled."""
        resolver = resolver_of(self.config)

        async def look(entry: Entry) -> Found:
            return await look_up(resolver, entry.name, entry.port, self.config.timeout_seconds)

        async with asyncio.TaskGroup() as tasks:
            for entry in self.config.services:
                tasks.create_task(Follower(self.config, entry, watch, look).run(asyncio.sleep))


@dataclass
class Follower:
    """One name. `step` asks once and says after how many seconds to ask again."""

    config: Config
    entry: Entry
    watch: plait.Watch
    look: Look
    clock: Clock = time.monotonic
    _is_known: bool = False
    _gone_since: float | None = None
    _failures: int = 0
    _told: str = ""

    async def run(self, sleep: Sleep) -> None:
        """For ever."""
        while True:
            await sleep(await self.step())

    async def step(self) -> float:
        """One question."""
        try:
            found = await self.look(self.entry)
            self.watch.update(self.entry.service, found.endpoints)
        except Gone as gone:
            self._failures = 0
            return self._gone(gone)
        except (Unanswered, ValueError) as error:
            self._tell(f"{error}; what {self.entry.service} has stays")
            self._failures += 1
            return min(self.config.shortest_seconds * 2.0 ** min(self._failures, 16), self.config.longest_seconds)
        self._is_known, self._gone_since, self._failures = True, None, 0
        self._tell(f"{len(found.endpoints)} endpoints of {self.entry.service}")
        return self._pause(found.ttl_seconds)

    def _gone(self, gone: Gone) -> float:
        """Believed at once where nothing was known, else after a while: a zone that is reloaded may be empty for a
        moment.
        """
        now = self.clock()
        self._gone_since = now if self._gone_since is None else self._gone_since
        left = self._gone_since + self.config.gone_seconds - now
        if self._is_known and left > 0:
            self._tell(f"{gone}; what {self.entry.service} has stays for {self.config.gone_seconds:g} s")
            return min(self._pause(gone.ttl_seconds), left)
        self.watch.update(self.entry.service, [])
        self._is_known = False
        self._tell(f"{gone}: {self.entry.service} has no endpoints")
        return self._pause(gone.ttl_seconds)

    def _pause(self, ttl_seconds: float) -> float:
        return min(max(ttl_seconds, self.config.shortest_seconds), self.config.longest_seconds)

    def _tell(self, text: str) -> None:
        if text != self._told:
            LOG.info("%s: %s", self.entry.name, text)
        self._told = text


def resolver_of(config: Config) -> dns.asyncresolver.Resolver:
    """One without a cache: each answer says how long it holds, and is asked for when it no longer does."""
    resolver = dns.asyncresolver.Resolver(configure=not config.servers)
    if config.servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*server(text)) for text in config.servers]
    return resolver
