"""What plugins report of endpoints, in the hooks' process: checked where it is reported, kept, handed on as a whole.

Called by `host`. A hook that falls is started again; what it reported stays.
"""

import asyncio
import hashlib
import ipaddress
import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from plait_sdk.control import Endpoint
from plait_sdk.host.dispatch import author_traceback, told

from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.hooks.loading import hook_of
from plait_controlplane.hooks.runner import Part
from plait_controlplane.resources.discovered import Discovered

LOG = logging.getLogger(__name__)

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)

# A Service of more is a mistake of its source, and each costs memory in every proxy that calls it.
MOST_ENDPOINTS = 10_000
MOST_WEIGHT = 65_535

_SERVICE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Reports:
    """What every plugin reported. `changed` is called after each report that says something new, in whatever thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._found: dict[str, dict[str, tuple[Discovered, ...]]] = {}
        self._settled: set[str] = set()
        self._configs: dict[str, str] = {}

    def watch(self, enabled: Enabled) -> "PluginWatch":
        """What a plugin reports to."""
        self._configs[enabled.called] = config_digest(enabled)
        return PluginWatch(enabled.called, self)

    def replace(self, plugin: str, service: str, endpoints: tuple[Discovered, ...]) -> None:
        """All endpoints of a Service, as one plugin knows them."""
        known = self._found.get(plugin, {})
        is_first = plugin not in self._settled
        self._settled.add(plugin)
        if is_first or known.get(service) != endpoints:
            self._found[plugin] = {**known, service: endpoints}
            self._changed()

    def settle(self, plugin: str) -> None:
        """The plugin has nothing to report for now: nobody need wait for it."""
        if plugin not in self._settled:
            self._settled.add(plugin)
            self._changed()

    def facts(self) -> dict[str, Any]:
        """Everything, as it travels: by plugin its configuration's digest, whether it was heard, and its Services."""
        return {
            name: {
                "config": config,
                "heard": name in self._settled,
                "services": {
                    service: [asdict(one) for one in found] for service, found in self._found.get(name, {}).items()
                },
            }
            for name, config in self._configs.items()
        }


class PluginWatch:
    """The `plait.Watch` of one plugin."""

    def __init__(self, plugin: str, reports: Reports) -> None:
        self._plugin = plugin
        self._reports = reports

    def update(self, service: str, endpoints: list[Endpoint]) -> None:
        """Replaces all endpoints of a Service; raises ValueError for what is none, and then nothing is replaced."""
        if not isinstance(service, str) or not _SERVICE.fullmatch(service):
            raise ValueError(f'"{service}" is no Service; write "namespace/name"')
        given = list(endpoints)
        if len(given) > MOST_ENDPOINTS:
            raise ValueError(f"{len(given)} endpoints of {service}: at most {MOST_ENDPOINTS}")
        found = dict.fromkeys(discovered(one) for one in given)
        self._reports.replace(self._plugin, service, tuple(sorted(found, key=lambda one: (one.address, one.port))))


def discovered(endpoint: Endpoint) -> Discovered:
    """An endpoint as it counts; raises ValueError."""
    if not isinstance(endpoint, Endpoint):
        raise ValueError(f"{endpoint!r:.80} is no plait.Endpoint")
    host, _, port = endpoint.address.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError:
        raise ValueError(f'"{endpoint.address}" is no address; write IP:port, for example 10.0.0.7:8080') from None
    if not 1 <= number <= 65_535:
        raise ValueError(f'"{endpoint.address}": {number} is no port')
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ValueError(f'"{endpoint.address}" is nowhere that a proxy may call')
    if not isinstance(endpoint.weight, int) or not 0 <= endpoint.weight <= MOST_WEIGHT:
        raise ValueError(f"weight {endpoint.weight!r} of {endpoint.address}: write a number from 0 to {MOST_WEIGHT}")
    return Discovered(str(address), number, str(endpoint.port), str(endpoint.zone), endpoint.weight)


async def run(part: Part, reports: Reports) -> None:
    """Keeps the plugin's `discover` running until it is cancelled."""
    found = hook_of(part.loaded, "discover") if part.loaded is not None else None
    watch = reports.watch(part.enabled)
    if found is None or part.thread is None:
        reports.settle(part.enabled.called)
        return
    method, takes = found
    falls = 0
    while True:
        work = part.thread.begin(method, (watch,) if "watch" in takes else ())
        part.state.calls += 1
        try:
            await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            work.cancel()
            raise
        except Exception as error:
            pause = BACKOFF_SECONDS[min(falls, len(BACKOFF_SECONDS) - 1)]
            falls += 1
            part.state.failures += 1
            part.state.reason = f"discover: {told(error)}"
            LOG.error(
                "hooks: plugin %s, discover: %s; what it reported stays, starting it again in %g s\n%s",
                part.enabled.called, told(error), pause, author_traceback(error),
            )  # fmt: skip
        else:
            LOG.warning("hooks: plugin %s, discover: ended by itself; what it reported stays", part.enabled.called)
            reports.settle(part.enabled.called)
            return
        reports.settle(part.enabled.called)
        await asyncio.sleep(pause)


def config_digest(enabled: Enabled) -> str:
    """Another when the plugin would report of other Services."""
    said = json.dumps([enabled.package, enabled.plugin, enabled.config], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
