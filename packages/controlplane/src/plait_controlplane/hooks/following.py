"""Plugins of the control plane as the discovery process has them: their judgement, and what they discover.

Called by `app`, which applies what is told here. Where no plugin is enabled nothing is asked and nothing costs.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

from plait_controlplane.hooks.answers import Away, PluginState
from plait_controlplane.hooks.client import START_SECONDS, Client, Found, Services
from plait_controlplane.hooks.judgement import Judgement, Reviewed
from plait_controlplane.resources.world import World

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """Endpoints changed, for the reason `why`; `anew`: the plugins are others, and every object is to be judged."""

    why: str
    anew: bool


class Hooks:
    """Use: `start`, then `review` and `changes`, later `stop`. `client` is None where no plugin is enabled."""

    def __init__(self, client: Client | None, remembered: Path) -> None:
        self._client = client
        self._judgement = Judgement(client) if client else None
        self._found = Found(remembered) if client else None
        self._reviewed = Reviewed(World())
        self._epoch = ""
        self._news: list[str] = []
        self._anew = False
        self._dirty = asyncio.Event()
        self._heard = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._states: list[PluginState] = []
        self.discovered: Services = self._found.endpoints() if self._found else {}
        """By "namespace/name" of the Service."""

    @property
    def is_short(self) -> bool:
        """Whether something could not be judged, and is to be asked about again."""
        return self._reviewed.unjudged > 0

    def unjudged(self) -> str:
        """Why nothing at all could be judged, for people; empty = something could, or there was nothing."""
        if self._reviewed.judged or not self._reviewed.problems or not self.is_short:
            return ""
        return f"plugins judged none of {self._reviewed.unjudged} objects: {self._reviewed.problems[0].message}"

    async def start(self) -> None:
        """Waits a while for the plugins and for what they discover: a start must not empty what they filled."""
        if self._client is None:
            return
        self._following = asyncio.create_task(self._follow(self._client))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            missing = sorted(self._found.missing) if self._found else []
            LOG.error("hooks: nothing heard of %s after %g s", ", ".join(missing) or "their process", START_SECONDS)

    async def stop(self) -> None:
        """Stops following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def review(self, world: World) -> Reviewed:
        """The world as plugins leave it."""
        self._reviewed = await self._judgement.over(world) if self._judgement else Reviewed(world)
        return self._reviewed

    async def changes(self) -> AsyncGenerator[Change]:
        """Whenever plugins reported something new, or are others."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            change = Change("; ".join(self._news[:3]) or "plugins were started anew", self._anew)
            self._news, self._anew = [], False
            yield change

    async def states(self) -> list[PluginState]:
        """How each plugin is."""
        if self._client is None:
            return []
        try:
            self._states = await self._client.state()
        except Away as error:
            known = self._states or [PluginState("the process of the hooks")]
            return [replace(one, state="Away", reason=str(error)) for one in known]
        return self._states

    async def _follow(self, client: Client) -> None:
        found = self._found
        async for message in client.reports():
            if found is None:
                return
            before, self._epoch = self._epoch, message["epoch"]
            services = found.take(message["found"])
            if before not in ("", self._epoch) and self._judgement:
                self._judgement.forget()
                self._anew = True
            if services:
                self.discovered = found.endpoints()
                more = f" and {len(services) - 3} more" if len(services) > 3 else ""
                self._news.append(f"endpoints of {', '.join(services[:3])}{more} were discovered")
                try:
                    await asyncio.to_thread(found.keep)
                except OSError as error:
                    LOG.error("hooks: what was discovered is not kept for the next start: %s", error)
            if not found.missing:
                self._heard.set()
            if services or self._anew:
                self._dirty.set()
