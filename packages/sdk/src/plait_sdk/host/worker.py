"""Owns a worker's life after the fork: gives up what it does not need, starts its plugins, then takes calls until the
proxy is gone.

Called by the zygote in the child. Never returns.
"""

import asyncio
import contextvars
import faulthandler
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from plait_sdk import _native
from plait_sdk.calls import Call, Channel, Phase
from plait_sdk.errors import HookTimeout
from plait_sdk.host.control import Control
from plait_sdk.host.dispatch import Dispatcher, author_traceback, told
from plait_sdk.host.driving import finish_now
from plait_sdk.host.output import Speaker
from plait_sdk.host.waiting import Waiting
from plait_sdk.manager import Chain, Step


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is forked for: the message `fork`, its descriptors, the message `load`, the chains, its zygote."""

    fork: dict[str, Any]
    descriptors: list[int]
    load: dict[str, Any]
    chains: dict[int, Chain]
    zygote: int


def work(order: Order, speaker: Speaker) -> NoReturn:
    """Runs until the proxy is gone, then ends the process; a fault of ours ends it with 70, for the proxy to see."""
    control = Control(socket.socket(fileno=order.descriptors.pop()))
    speaker.control = control
    try:
        _die_with(order.zygote)
        channel = _channel(order)
        held = _confine(order, channel, control)
        _serve(order, channel, control, speaker, held)
    except EOFError:
        os._exit(0)
    except StageError as error:
        control.send(error.message)
        os._exit(1)
    except BaseException as error:
        control.send({"kind": "log", "plugin": speaker.plugin, "level": "error", "text": author_traceback(error)})
        os._exit(70)
    os._exit(0)


class Failures:
    """Tells the author of hooks that raised: the first of each second, since a plugin may fail for every request."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.told_at = 0.0

    def tell(self, step: Step, error: BaseException) -> None:
        """Logs the traceback under the plugin's name."""
        now = time.monotonic()
        if now - self.told_at >= 1:
            self.told_at = now
            self.control.log(step.loaded.name, "error", f"{step.hook}: {author_traceback(error)}".rstrip())


class StageError(Exception):
    """A worker that takes no call; `message` goes to the proxy."""

    def __init__(self, stage: str, plugin: str | None, error: BaseException) -> None:
        super().__init__(stage)
        self.message = {
            "kind": "failed",
            "plugin": plugin,
            "stage": stage,
            "message": told(error),
            "traceback": author_traceback(error),
        }


def _die_with(zygote: int) -> None:
    try:
        _native.die_with_parent(zygote)
    except ProcessLookupError:
        raise EOFError("the zygote is gone") from None


def _channel(order: Order) -> Channel:
    descriptors = order.descriptors
    if order.fork["transport"] == "stream":
        return _native.Channel.stream(descriptors[0])
    memory, wake_worker, wake_proxy = descriptors
    return _native.Channel.ring(memory, order.fork["memory"]["ring_bytes"], wake_worker, wake_proxy)


def _confine(order: Order, channel: Channel, control: Control) -> dict[str, str]:
    """Enters the sandbox and tells what holds; what cannot be given up is a reason not to start."""
    box = order.load["sandbox"]
    if box["scratch"]:
        tempfile.tempdir = box["scratch"]
        os.chdir(box["scratch"])
    try:
        return _native.sandbox(
            network=box["network"] and _uses_network(order),
            processes=box["processes"],
            scratch=box["scratch"],
            read=box["read"],
            user=box["user"],
            files=box["files"],
            memory_bytes=order.load["memory_bytes"],
            keep=[control.fileno(), channel.fileno(), *order.descriptors],
        )
    except OSError as error:
        raise StageError("sandbox", None, error) from error


def _uses_network(order: Order) -> bool:
    """Whether a plugin here declares that it opens sockets: being allowed to is not enough."""
    return any(loaded.plugin.uses_network for chain in order.chains.values() for loaded in chain.plugins)


def _serve(order: Order, channel: Channel, control: Control, speaker: Speaker, held: dict[str, str]) -> None:
    def entered(step: Step | None) -> None:
        speaker.plugin = step.loaded.name if step is not None else None

    dispatcher = Dispatcher(order.chains, channel, entered, Failures(control).tell)
    faulthandler.enable(sys.__stderr__ or 2)
    signal.signal(signal.SIGUSR1, _interrupter(channel))
    loop = asyncio.new_event_loop() if dispatcher.is_async or _starts_async(order) else None
    _start_plugins(order, speaker, loop)
    control.send({"kind": "ready", "sandbox": held})
    if loop is not None and dispatcher.is_async:
        Waiting(dispatcher, channel, control, loop).run()
    while True:
        serve_batch(dispatcher, channel, channel.take())
        channel.flush()
        control.flush()
        channel.wait(None, control.fileno())


def serve_batch(dispatcher: Dispatcher, channel: Channel, calls: Sequence[Call]) -> None:
    """Answers calls whose hooks are all `def`, each in a context of its own."""
    records = [call for call in calls if call.phase == Phase.LOG]
    for call in calls:
        if call.phase in (Phase.LOG, Phase.CANCEL):
            continue
        try:
            contextvars.copy_context().run(finish_now, dispatcher.serve(call))
        except HookTimeout:  # it came between the end of the hook and the end of the call
            channel.fail(call, 0, "deadline")
    for batch in by_chain(records):
        finish_now(dispatcher.serve_log(batch))


def by_chain(calls: Sequence[Call]) -> list[list[Call]]:
    """Calls put together by their chain, in order."""
    batches: dict[int, list[Call]] = {}
    for call in calls:
        batches.setdefault(call.chain, []).append(call)
    return list(batches.values())


def _interrupter(channel: Channel) -> Any:
    def interrupt(_: int, __: FrameType | None) -> None:
        if channel.interrupted():
            raise HookTimeout("its time is over")

    return interrupt


def _starts_async(order: Order) -> bool:
    return any(step.is_async for chain in order.chains.values() for step in _starters(chain))


def _starters(chain: Chain) -> Sequence[Step]:
    stage = chain.others.get("worker_started")
    return stage.steps if stage else ()


def _start_plugins(order: Order, speaker: Speaker, loop: asyncio.AbstractEventLoop | None) -> None:
    """Runs `worker_started` of each plugin once, however many chains it is in."""
    started = set()
    for step in (step for chain in order.chains.values() for step in _starters(chain)):
        if step.loaded.name in started:
            continue
        started.add(step.loaded.name)
        speaker.plugin = step.loaded.name
        try:
            answer = step.function()
            if step.is_async and loop is not None:
                loop.run_until_complete(answer)
        except Exception as error:
            raise StageError("start", step.loaded.name, error) from error
    speaker.plugin = None
