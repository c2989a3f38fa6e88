"""Owns what a plugin costs: CPU time of a call through frames and dispatch, alone and in batches, beside a call
without a plugin.

Run as `python -m plait_sdk.testing.cost MODULE:CLASS` by `plait plugin bench`, in a process of its own.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

from plait_sdk import _native
from plait_sdk.calls import Channel, Phase
from plait_sdk.errors import PluginError
from plait_sdk.hookspecs import SPECS
from plait_sdk.host.dispatch import Dispatcher
from plait_sdk.host.driving import finish, start
from plait_sdk.host.loading import find
from plait_sdk.manager import Chain, Loaded, build, load

BATCH = 32
"""Calls that a busy proxy sends at once; a worker takes up to twice as many."""

ROUNDS = 300
BUDGET_US = 50_000
"""The time of a phase by default."""

MARK = "plait-costs: "
"""Begins the line that holds the costs; all others are the plugin's own."""


def costs(loaded: Loaded) -> list[dict[str, Any]]:
    """The cost of each hook that has a phase. Hooks of one phase share a call, and are measured with it alone in the
    chain.

    Raises:
        PluginError: there is no such hook.
    """
    hooks = [hook for hook in loaded.hooks if SPECS[hook].phase is not None]
    if not hooks:
        raise PluginError(f"{loaded.name} has no hook on the path of requests", "there is nothing to measure")
    chain = build([loaded])
    empty = Chain((), {}, {})
    found = []
    for hook in hooks:
        phase = SPECS[hook].phase or Phase.REQUEST
        only = Chain(chain.plugins, {phase: tuple(each for each in chain.phases[phase] if each.hook == hook)}, {})
        found.append(
            {
                "hook": hook,
                "alone_us": _measured(only, phase, loaded, 1),
                "batch_us": _measured(only, phase, loaded, BATCH),
                "none_us": _measured(empty, phase, loaded, BATCH),
                "budget_us": BUDGET_US,
            }
        )
    return found


def _measured(chain: Chain, phase: Phase, loaded: Loaded, batch: int) -> float:
    """Median CPU time of one call in microseconds."""

    loopback = _native.Loopback(1 << 22)
    channel: Channel = loopback.channel()
    dispatcher = Dispatcher({0: chain}, channel)
    names = loaded.scope.read_headers or frozenset({"x-request", "accept"})
    headers = [(name, "some value") for name in sorted(names)]
    spent = []
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS // min(batch, 4)):
            for _ in range(batch):
                loopback.call(phase, 0, FIELDS, request_headers=headers, response_headers=headers, last=True)
            calls = channel.take()
            before = time.thread_time_ns()
            runner.run(_served(dispatcher, channel, calls)) if dispatcher.is_async else _serve(dispatcher, calls)
            channel.flush()
            spent.append((time.thread_time_ns() - before) / 1000 / batch)
            loopback.verdicts()
    return round(statistics.median(spent), 2)


def _serve(dispatcher: Dispatcher, calls: Any) -> None:
    for call in calls:
        start(dispatcher.serve(call))


async def _served(dispatcher: Dispatcher, channel: Channel, calls: Any) -> None:
    for call in calls:
        serving = dispatcher.serve(call)
        pending = start(serving)
        if pending is not None:
            await finish(serving, pending, channel)


FIELDS: Mapping[str, Any] = {
    "method": "GET",
    "path": "/acme/orders",
    "query": "a=1",
    "authority": "web.shop:80",
    "scheme": "http",
    "peer_identity": "spiffe://shop.example/ns/shop/sa/web",
    "peer_namespace": "shop",
    "peer_service_account": "web",
    "peer_address": "10.0.0.7:4711",
    "service": "shop/web",
    "workload": "shop/web-1",
    "port": 80,
    "status": 200,
    "request_id": "7f3a91c2",
    "candidates": ["shop/web-v1", "shop/web-v2"],
    "body": b"x" * 1024,
}
"""A usual call."""


def main() -> None:
    """Prints the costs as a JSON list on one line."""
    parser = argparse.ArgumentParser(prog="plait_sdk.testing.cost")
    parser.add_argument("entry")
    parser.add_argument("--config", default="{}")
    words = parser.parse_args()
    plugin, version = find(words.entry, words.entry)
    loaded = load(words.entry, plugin, json.loads(words.config), _native.Interest, version=version)
    sys.stdout.write(f"\n{MARK}{json.dumps(costs(loaded))}\n")


if __name__ == "__main__":
    main()
