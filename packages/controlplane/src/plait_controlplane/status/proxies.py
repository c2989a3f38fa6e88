"""Who is connected and what each serves. Written by the streams, read by the API.

In memory alone: a proxy that reconnects says it again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from plait_controlplane.interest.publication import Key as ResourceKey


@dataclass(frozen=True)
class Rejection:
    """What a proxy would not take. Without a kind it is a whole change set."""

    kind: str
    name: str
    path: str
    reason: str
    generation: int


@dataclass(frozen=True)
class PluginState:
    """What became of a Plugin beside one proxy."""

    name: str
    """ "namespace/name" of the Plugin."""
    version: bytes
    """Of the resource that this is said of."""
    state: Literal["Loading", "Live", "Failed"]
    reason: str
    """Of a failure: what the plugin's code said last."""
    earlier_serves: bool
    """Whether a version before this one goes on serving."""


@dataclass
class ProxyState:
    """One connected proxy. Its stream alone changes it."""

    proxy: str
    workloads: tuple[str, ...]
    version: str
    connected_unix: float
    generation: int = 0
    """The last one that it serves: acked, or told of by a heartbeat when nothing of it concerned this proxy."""
    settled: bool = False
    """Whether nothing is on its way and the last answer was no nack."""
    rejections: dict[tuple[str, str], Rejection] = field(default_factory=dict)
    plugins: tuple[PluginState, ...] = ()
    """As the proxy said last."""
    acked: Mapping[ResourceKey, bytes] = field(default_factory=dict)
    """The version of each resource that it has in force."""
    sent: Mapping[ResourceKey, bytes] = field(default_factory=dict)
    """The same, once what is on its way has been answered."""


class Proxies:
    """All connected proxies by name."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._connected: dict[str, ProxyState] = {}

    def connected(self, proxy: str, workloads: tuple[str, ...], version: str) -> ProxyState:
        """A proxy is here; one of that name that came earlier is forgotten, since it is the one that comes back."""
        state = ProxyState(proxy, workloads, version, self._clock())
        self._connected[proxy] = state
        return state

    def gone(self, state: ProxyState) -> None:
        """Its stream ended."""
        if self._connected.get(state.proxy) is state:
            del self._connected[state.proxy]

    def all(self) -> list[ProxyState]:
        """By name."""
        return [self._connected[name] for name in sorted(self._connected)]

    def __len__(self) -> int:
        return len(self._connected)
