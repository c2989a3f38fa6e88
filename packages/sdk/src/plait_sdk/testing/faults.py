"""Owns faults that a test asks for: a hook that is interrupted for its time, or dies, the next times it is called.

Called by the harness; changes the compiled lines of one dispatcher.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from plait_sdk.errors import HookTimeout, PluginError, closest
from plait_sdk.host.dispatch import Dispatcher, Line, Ready

Kind = Literal["timeout", "crash"]


class Crash(Exception):
    """What stands for a worker that died in a hook: the same policy, `onError`, answers."""


def inject(dispatcher: Dispatcher, plugin: int, hook: str, kind: Kind, times: int) -> None:
    """Makes a hook of one plugin fail the next `times` times.

    Raises:
        PluginError: the plugin has no such hook on the path of requests, or there is no such fault.
    """
    if kind not in ("timeout", "crash"):
        raise PluginError(f'there is no fault "{kind}"', closest(kind, ("timeout", "crash")) or "timeout or crash")
    left, found = [times], False
    for key, lines in dispatcher.lines.items():
        dispatcher.lines[key] = tuple(_spoilt(line, plugin, hook, kind, left) for line in lines)
        found = found or any(ready.index == plugin for line in lines if line.hook == hook for ready in line.steps)
    if not found:
        raise PluginError(f"plugin {plugin} of this chain has no hook {hook} on the path of requests")


def _spoilt(line: Line, plugin: int, hook: str, kind: Kind, left: list[int]) -> Line:
    if line.hook != hook:
        return line
    return replace(line, steps=tuple(_spoil(each, kind, left) if each.index == plugin else each for each in line.steps))


def _spoil(ready: Ready, kind: Kind, left: list[int]) -> Ready:
    function = ready.function

    def fail() -> None:
        if left[0] > 0:
            left[0] -= 1
            raise HookTimeout("its time is over") if kind == "timeout" else Crash("the worker died")

    def spoilt(*arguments: Any) -> Any:
        fail()
        return function(*arguments)

    async def spoilt_async(*arguments: Any) -> Any:
        fail()
        return await function(*arguments)

    chosen: Callable[..., Any] = spoilt_async if ready.is_async else spoilt
    return replace(ready, function=chosen)
