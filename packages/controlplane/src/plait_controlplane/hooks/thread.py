"""One plugin's thread: all its hooks run there, one at a time, each with a deadline. Called by `runner`.

A plugin that waits or computes for too long holds up nobody but itself. A loop in Python is interrupted; what cannot be
makes the plugin `stuck`, and its process has to be replaced. Must not know what the hooks are for.
"""

import asyncio
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from plait_sdk.errors import HookTimeout

# A thread that does not answer by then is held by a hook; an interruption that did not help by then never will.
GRACE_SECONDS = 1.0


class TooLong(Exception):
    """A hook used up its time."""


class Ended(Exception):
    """A hook tried to end the process, or was interrupted."""


class PluginThread:
    """Runs until the process ends. `stuck` says that a hook could not be interrupted."""

    def __init__(self, name: str, grace_seconds: float = GRACE_SECONDS) -> None:
        self.stuck = False
        self._grace_seconds = grace_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"plugin {name}", daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
        """The answer of a hook, sync or async; raises what it raises, or TooLong."""
        if self.stuck:
            raise TooLong("a hook before this one still holds its thread")
        work = self.begin(function, arguments)
        waiting = asyncio.wrap_future(work)
        done, _ = await asyncio.wait({waiting}, timeout=seconds)
        if done:
            return waiting.result()
        work.cancel()
        if not await self._is_free():
            self._interrupt()
            self.stuck = not await self._is_free()
        raise TooLong(f"not done after {seconds:g} s")

    def begin(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> "Future[Any]":
        """Starts a hook that may run for ever; cancelling what it gives cancels the hook."""
        return asyncio.run_coroutine_threadsafe(_answer(function, arguments), self._loop)

    async def _is_free(self) -> bool:
        """Whether the thread does anything else than the hook."""
        ping = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop))
        done, _ = await asyncio.wait({ping}, timeout=self._grace_seconds)
        return bool(done)

    def _interrupt(self) -> None:
        if self._thread.ident is not None:
            number, exception = ctypes.c_ulong(self._thread.ident), ctypes.py_object(HookTimeout)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, exception)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        answer = function(*arguments)
        if asyncio.iscoroutine(answer):
            answer = await answer
        # Generators do their work when they are read: that belongs to their time too.
        return list(answer) if hasattr(answer, "__next__") else answer
    except (HookTimeout, SystemExit, KeyboardInterrupt) as error:  # none of them may end the thread
        raise Ended(repr(error)) from error
