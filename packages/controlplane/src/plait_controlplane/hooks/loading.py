"""Plugins of the control plane, loaded: found, checked, configured, self-tested. Called by `runner`."""

import inspect
from collections.abc import Callable
from typing import Any

from plait_sdk.hookspecs import CONTROL_PLANE, NOT_CALLED
from plait_sdk.host.loading import StageFailed, load_plugin
from plait_sdk.host.memory import MemoryInterest
from plait_sdk.manager import Loaded, build

from plait_controlplane.hooks.enabled import Enabled


class NotLoaded(Exception):
    """A plugin that cannot be used; the text says at which stage it failed."""

    def __init__(self, text: str, traceback: str = "") -> None:
        super().__init__(text)
        self.traceback = traceback


def load_enabled(enabled: Enabled) -> Loaded:
    """The plugin of an entry; raises NotLoaded, whatever its author's code does."""
    wanted = {
        "name": enabled.called,
        "package": enabled.package,
        "entry": enabled.plugin or "",
        "version": enabled.version,
        "config": enabled.config,
        "on_error": enabled.on_error.lower(),
    }
    try:
        loaded = load_plugin(wanted, MemoryInterest)
    except StageFailed as failed:
        raise NotLoaded(f"stage {failed.stage}: {failed.message}", failed.traceback) from failed
    hooks = [hook for hook in loaded.hooks if hook in CONTROL_PLANE]
    if not hooks:
        raise NotLoaded(f"it has no hook of the control plane ({', '.join(sorted(CONTROL_PLANE))})")
    if missing := [hook for hook in hooks if NOT_CALLED.get(hook)]:
        raise NotLoaded(f"{', '.join(missing)}: not called by this version of the mesh")
    for hook in hooks:
        stage = build([loaded]).others.get(hook)
        if stage is not None and stage.wrappers:
            raise NotLoaded(f"{hook}: a hook of the control plane cannot be a wrapper; remove wrapper=True")
    if "discover" in hooks and not inspect.iscoroutinefunction(loaded.plugin.discover):  # type: ignore[attr-defined]
        raise NotLoaded("discover: it runs for as long as the control plane does; write async def discover")
    return loaded


def hook_of(loaded: Loaded, hook: str) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
    """The method that implements a hook and the arguments that it takes; None where the plugin has none."""
    if hook not in loaded.hooks:
        return None
    method = getattr(loaded.plugin, hook)
    return method, tuple(inspect.signature(method).parameters)
