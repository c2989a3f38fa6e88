"""The other end of the hooks' socket: asks plugins, follows what they discover, and remembers it.

Held by the discovery process, by the signer and by the webhooks. What was discovered stays when the hooks' process is
away, and over a restart of the control plane; only a report takes it away.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from plait_sdk.control import IdentityRequest, Resource

from plait_controlplane.hooks.answers import Away, Judged, Permit, PluginState
from plait_controlplane.hooks.host import SERVICE, UNBOUNDED, dump
from plait_controlplane.resources.discovered import Discovered

LOG = logging.getLogger(__name__)

# Longer than all plugins together may take with one batch is nobody waiting; a hook has its own deadline before that.
JUDGE_SECONDS = 60.0
STATE_SECONDS = 2.0
# Proxies wait for 10 s.
PERMIT_SECONDS = 8.0
RETRY_SECONDS = 0.5
# How long a start waits for the process of the hooks, and for its first report of endpoints.
START_SECONDS = 10.0

Services = dict[str, tuple[Discovered, ...]]


class Client:
    """Asks."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500), *UNBOUNDED,
            ],
        )  # fmt: skip

    async def judge(self, resources: Sequence[Resource], seconds: float = JUDGE_SECONDS) -> list[Judged]:
        """One answer for each object; raises Away."""
        asked = [asdict(one) for one in resources]
        answer = await self.ask("Judge", {"resources": asked}, seconds)
        return [Judged.from_json(one) for one in answer["judged"]]

    async def permit(self, request: IdentityRequest) -> Permit:
        """Whether a certificate is given, and for how long; raises Away."""
        return Permit(**await self.ask("Permit", asdict(request), PERMIT_SECONDS))

    async def state(self) -> list[PluginState]:
        """How each plugin is; raises Away."""
        answer = await self.ask("State", {}, STATE_SECONDS)
        return [PluginState(**{**one, "hooks": tuple(one["hooks"])}) for one in answer["plugins"]]

    async def ask(self, method: str, question: dict[str, Any], seconds: float, wait: bool = False) -> dict[str, Any]:
        """One question; raises Away."""
        call = self._channel.unary_unary(f"/{SERVICE}/{method}", dump, json.loads)
        try:
            answer: dict[str, Any] = await call(question, timeout=seconds, wait_for_ready=wait)
        except grpc.aio.AioRpcError as error:
            raise Away(f"the process of the hooks does not answer ({error.code().name})") from error
        return answer

    async def reports(self) -> AsyncGenerator[dict[str, Any]]:
        """All that is discovered, now and after each change; goes on whenever the process comes back."""
        while True:
            call = self._channel.unary_stream(f"/{SERVICE}/Discover", dump, json.loads)({}, wait_for_ready=True)
            try:
                async for message in call:
                    yield message
            except grpc.aio.AioRpcError as error:
                LOG.warning("the process of the hooks is away (%s): what is discovered stays", error.code().name)
            finally:
                call.cancel()
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close(None)


class Found:
    """What is discovered, by plugin and Service, and on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._configs: dict[str, str] = {}
        self._services: dict[str, Services] = {}
        self.missing: set[str] = set()
        """Plugins that were not heard yet, and of which nothing is remembered."""
        self._read()

    def take(self, found: Mapping[str, Any]) -> list[str]:
        """What the hooks' process says now; gives the Services that changed, by name."""
        before = self.endpoints()
        for plugin, said in found.items():
            news = _services(said)
            known = self._services.get(plugin, {})
            # One that was started anew has not told of everything yet; one with another configuration will not.
            keeps = not news or self._configs.get(plugin, said["config"]) == said["config"]
            same = {service: known[service] for service, found in news.items() if known.get(service) == found}
            self._services[plugin] = {**(known if keeps else {}), **news, **same}
            if news or plugin not in self._configs:
                self._configs[plugin] = said["config"]
        for plugin in set(self._services) - set(found):
            del self._services[plugin]
            self._configs.pop(plugin, None)
        self.missing = {plugin for plugin, said in found.items() if not said["heard"] and not self._services[plugin]}
        after = self.endpoints()
        return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))

    def endpoints(self) -> Services:
        """By Service, of all plugins."""
        merged: Services = {}
        for _, services in sorted(self._services.items()):
            for service, endpoints in services.items():
                merged[service] = merged[service] + endpoints if merged.get(service) else endpoints
        return merged

    def keep(self) -> None:
        """On disk, for the next start."""
        said = {
            plugin: {
                "config": self._configs.get(plugin, ""),
                "services": {service: [asdict(one) for one in found] for service, found in services.items()},
            }
            for plugin, services in self._services.items()
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(said))
        os.replace(fresh, self._file)

    def _read(self) -> None:
        try:
            said = json.loads(self._file.read_text())
            for plugin, one in said.items():
                self._services[plugin], self._configs[plugin] = _services(one), one["config"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.error("%s cannot be read, endpoints are discovered anew: %s", self._file, error)
            self._services, self._configs = {}, {}


def _services(said: Mapping[str, Any]) -> Services:
    return {name: tuple(Discovered(**one) for one in found) for name, found in said["services"].items()}
