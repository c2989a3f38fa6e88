"""The plugin: counts requests in Redis or Valkey, so that a limit holds for all proxies together.

Loaded by a plugin worker through the entry point `ratelimit`. The window slides: no burst of twice the limit passes
around a full minute. Counting is one script in the store, so that two proxies never both take the last place. What
happens when the store is away says `onError` of the Plugin object, not this file.
"""

import hashlib
import math
import time

import plait_sdk as plait
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from pydantic import Field

from plait_ratelimit.limit import Limit

PREFIX = "plait-ratelimit"
LONGEST_KEY = 64
"""Characters of a caller in a key of the store; what is longer is told apart by its digest."""


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    store: str = Field(
        description="where is counted: redis://, rediss:// (TLS) or redis+unix://", pattern=r"^(rediss?|redis\+unix)://"
    )
    limits: list[Limit] = Field(description="each counts by itself; the first that is used up refuses", min_length=1)
    timeout_seconds: float = Field(0.03, description="how long the store may take to answer", gt=0, le=5)
    prefix: str = Field(PREFIX, description="of keys in the store; meshes with one prefix share their counts")


def _read(config: Config) -> set[str]:
    return {limit.of for limit in config.limits if limit.key == "header"}


class RateLimit(plait.Plugin[Config]):
    """Refuses with 429 who asks more often than the limits say."""

    reads = plait.Reads(path=True, peer=True, headers=_read)
    uses_network = True

    @plait.hookimpl
    async def worker_started(self) -> None:
        """Connects at the first request: nothing is sent from here."""
        self._limits = [(limit, limit.item) for limit in self.config.limits]
        wait = self.config.timeout_seconds
        storage = RedisStorage(
            f"async+{self.config.store}",
            implementation="redispy",
            key_prefix=self.config.prefix,
            socket_timeout=wait,
            socket_connect_timeout=wait,
        )
        self._counter = SlidingWindowCounterRateLimiter(storage)

    @plait.hookimpl
    async def on_request(self, request: plait.Request) -> plait.Reply | None:
        """429, with the time after which it is worth asking again."""
        for limit, item in self._limits:
            if not limit.holds(request.path):
                continue
            key = key_of(limit.caller(request))
            if not await self._counter.hit(item, key):
                stats = await self._counter.get_window_stats(item, key)
                return refusal(limit, max(1, math.ceil(stats.reset_time - time.time())))
        return None


def key_of(caller: str) -> str:
    """A caller's name in the store: as it is where it is short and plain."""
    if len(caller) <= LONGEST_KEY and caller.isascii() and caller.isprintable():
        return caller
    return hashlib.sha256(caller.encode("utf-8", "surrogateescape")).hexdigest()


def refusal(limit: Limit, seconds: int) -> plait.Reply:
    """What who is over the limit is told."""
    headers = {
        "retry-after": str(seconds),
        "ratelimit-policy": f'"{limit.name}";q={limit.requests};w={limit.item.get_expiry()}',
        "content-type": "text/plain",
    }
    text = f"over the limit {limit.name}: {limit.requests} requests a {limit.per}; ask again in {seconds} s\n"
    return plait.Reply(429, headers, text)
