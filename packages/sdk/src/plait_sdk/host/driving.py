"""Owns how a call that waits is carried on: each step of a coroutine is marked with the call and the plugin it works
for.

Called by the worker's loop and by the harness. Between two steps nothing is marked, so that a hang is never blamed on
a call that only waits.
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any

from plait_sdk.calls import Channel
from plait_sdk.host.dispatch import Pending, Serving


def finish_now(serving: Serving) -> None:
    """Runs a call whose hooks are all `def`."""
    for pending in serving:
        raise AssertionError(f"a chain without async hooks waits for {pending.awaitable!r}")


async def finish(serving: Serving, pending: Pending, channel: Channel) -> None:
    """Carries on a call that waits for `pending`, until it is answered."""
    while True:
        try:
            answer = await _marked(pending, channel)
        except BaseException as error:
            step = _next(serving, error, None)
        else:
            step = _next(serving, None, answer)
        if step is None:
            return
        pending = step


def start(serving: Serving) -> Pending | None:
    """Runs a call until it waits for the first time; None when it did not."""
    return next(serving, None)


def _next(serving: Serving, error: BaseException | None, answer: Any) -> Pending | None:
    try:
        return serving.send(answer) if error is None else serving.throw(error)
    except StopIteration:
        return None


@types.coroutine
def _marked(pending: Pending, channel: Channel) -> Generator[Any, Any, Any]:
    """Awaits a coroutine, marking each of its steps; what is no coroutine is awaited as it is."""
    awaitable = pending.awaitable
    if not isinstance(awaitable, Coroutine):
        return (yield from awaitable.__await__())
    value: Any = None
    error: BaseException | None = None
    while True:
        channel.begin(pending.call, pending.plugin)
        try:
            waits_for = awaitable.send(value) if error is None else awaitable.throw(error)
        except StopIteration as stop:
            return stop.value
        channel.end()
        value = error = None
        try:
            value = yield waits_for
        except BaseException as thrown:
            error = thrown
