"""Owns the loop of a worker whose hooks wait: calls that do not wait are answered at once, the others become tasks.

Called by `worker`. Answers leave once a turn of the loop.
"""

import asyncio
import contextvars
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

from plait_sdk.calls import Call, Channel, Phase
from plait_sdk.errors import HookTimeout
from plait_sdk.host.control import Control
from plait_sdk.host.dispatch import Dispatcher, Serving
from plait_sdk.host.driving import finish, start

EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""From 3.12 on a task takes its first step at once, which is often its last; before, it takes a turn of the loop."""


class Waiting:
    """Takes calls on an asyncio loop."""

    def __init__(
        self, dispatcher: Dispatcher, channel: Channel, control: Control, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.dispatcher = dispatcher
        self.channel = channel
        self.control = control
        self.loop = loop
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.flushing = False

    def run(self) -> NoReturn:
        """Serves until the proxy is gone."""
        self.loop.add_reader(self.channel.fileno(), self.guarded)
        self.loop.add_reader(self.control.fileno(), os._exit, 0)
        self.loop.call_soon(self.guarded)
        self.loop.run_forever()
        raise EOFError("the loop was stopped")

    def guarded(self) -> None:
        """Takes what is there; the end of the proxy, or a fault of ours, ends the process."""
        try:
            self.take()
        except EOFError:
            os._exit(0)

    def take(self) -> None:
        """Takes calls until none is left and the proxy knows that it must wake us."""
        while True:
            calls = self.channel.take()
            if not calls and self.channel.arm():
                break
            self.begin(calls)
        self.channel.end()
        self.channel.flush()
        self.control.flush()

    def begin(self, calls: Sequence[Call]) -> None:
        """Starts calls in order; the records among them as one batch a chain."""
        records: dict[int, list[Call]] = {}
        for call in calls:
            if call.phase == Phase.LOG:
                records.setdefault(call.chain, []).append(call)
            elif call.phase == Phase.CANCEL:
                self.cancel(call.id)
            else:
                self._start(call, self.dispatcher.serve(call))
        for batch in records.values():
            self._start(batch[0], self.dispatcher.serve_log(batch))

    def cancel(self, number: int) -> None:
        """Ends the task of a call whose time is over; it answers as it ends."""
        task = self.tasks.get(number)
        if task is not None:
            task.cancel("its time is over")

    def _start(self, call: Call, serving: Serving) -> None:
        context = contextvars.copy_context()
        try:
            pending = context.run(start, serving)
        except HookTimeout:  # it came between the end of the hook and the end of the call
            self.channel.fail(call, 0, "deadline")
            return
        if pending is None:
            return
        self.channel.end()
        self._task(call.id, finish(serving, pending, self.channel), context)

    def _task(self, number: int, work: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        task = asyncio.Task(work, loop=self.loop, context=context, **EAGER)
        if task.done():
            self._ended(number, task)
            return
        self.tasks[number] = task
        task.add_done_callback(lambda done: self._ended(number, done))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        self.tasks.pop(number, None)
        task.result()  # errors of hooks are answers: what comes out here is a fault of ours, told by the loop's handler
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        try:
            self.channel.flush()
        except EOFError:
            os._exit(0)
        self.control.flush()
