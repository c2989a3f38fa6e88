"""Owns how plugins come to be in the zygote: found, imported, configured, self-tested, with the stage at which one
failed.

Called by the zygote once, and by `plait plugin check` in a process of its own. A plugin that starts a thread is
refused here: the zygote forks, and no thread lives through a fork.
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from plait_sdk.calls import Interest
from plait_sdk.definition import check
from plait_sdk.errors import ConfigError, DefinitionError, LoadError, PluginError, closest
from plait_sdk.host.dispatch import author_traceback, told
from plait_sdk.manager import Loaded, build, load
from plait_sdk.plugin import Plugin

GROUP = "plait.plugins"
"""The entry points by which a distribution offers plugins."""

SELF_TEST_SECONDS = 10.0
"""A self-test that waits longer waits for something that is not there."""


class StageFailed(Exception):
    """A plugin failed in `stage`: import, config, hooks, selftest or threads."""

    def __init__(self, plugin: str, stage: str, message: str, traceback: str = "") -> None:
        super().__init__(f"plugin {plugin} failed in stage {stage}: {message}")
        self.plugin = plugin
        self.stage = stage
        self.message = message
        self.traceback = traceback

    def facts(self) -> dict[str, str]:
        """What the proxy is told."""
        return {
            "plugin": self.plugin,
            "stage": self.stage,
            "message": self.message,
            "traceback": self.traceback,
        }


def load_plugin(wanted: dict[str, Any], interest: Interest) -> Loaded:
    """A plugin of the message `load`, self-tested.

    Raises:
        StageFailed: with the stage, a line, and a traceback that starts at the author's code.
    """
    name = wanted["name"]
    before = _threads()
    plugin, version = _staged(name, "import", lambda: _wanted(name, wanted))
    try:
        loaded = load(name, plugin, wanted["config"] or {}, interest, version=version, on_error=wanted["on_error"])
    except DefinitionError as error:
        raise StageFailed(name, "hooks", str(error)) from error
    except ConfigError as error:
        raise StageFailed(name, "config", str(error)) from error
    except Exception as error:  # the author's __init__, or a function in `reads` or `writes`
        raise StageFailed(name, "config", told(error), author_traceback(error)) from error
    _staged(name, "selftest", lambda: self_test(loaded))
    if _threads() > before:
        raise StageFailed(name, "threads", "it started a thread while it was loaded; start threads in worker_started")
    return loaded


def find(name: str, entry: str, package: str = "") -> tuple[type[Plugin[Any]], str]:
    """A plugin's class and version by "module:Class", or by an entry point: by its name, of a package, or both.

    Args:
        name: what messages call it.
        entry: "" is the only plugin of the package.
        package: "" is any.

    Raises:
        LoadError: there is no such thing, or several.
    """
    point = EntryPoint(name, entry, GROUP) if ":" in entry else _entry_point(name, entry, package)
    plugin = point.load()
    if not (inspect.isclass(plugin) and issubclass(plugin, Plugin)):
        raise LoadError(name, f"{point.value} is no subclass of plait_sdk.Plugin")
    return plugin, point.dist.version if point.dist else str(getattr(sys.modules[point.module], "__version__", ""))


def self_test(loaded: Loaded) -> None:
    """Runs the plugin's own `self_test`, if it has one."""
    stage = build([loaded]).others.get("self_test")
    for step in stage.steps if stage else ():
        answer = step.function()
        if step.is_async:
            asyncio.run(asyncio.wait_for(answer, SELF_TEST_SECONDS))


def main() -> None:
    """Imports a plugin and tells its version and hooks: shows that a wheel works where it is installed."""
    plugin, version = find(sys.argv[1], sys.argv[1])
    sys.stdout.write(f"{sys.argv[1]} {version}: {', '.join(check(sys.argv[1], plugin))}\n")


def _wanted(name: str, wanted: dict[str, Any]) -> tuple[type[Plugin[Any]], str]:
    """The class that a message `load` means, and its version, which must be one of those that the user wants."""
    package, wish = wanted.get("package", ""), wanted.get("version", "")
    plugin, version = find(name, wanted["entry"], package)
    if wish and not SpecifierSet(wish, prereleases=True).contains(version or "0"):
        raise LoadError(name, f"{package} {version} is installed, and the Plugin wants {wish}")
    return plugin, version


def _entry_point(name: str, entry: str, package: str) -> EntryPoint:
    offered = [point for point in entry_points(group=GROUP) if not package or _is_of(point, package)]
    if not offered:
        whose = f"{package} is not installed, or has no" if package else "no installed package has an"
        raise LoadError(name, f"{whose} entry point of {GROUP}")
    found = [point for point in offered if not entry or point.name == entry]
    # Where a package is there twice, as it is while a newer one is unpacked, the first of the path wins.
    if len({point.name for point in found}) == 1:
        return found[0]
    names = sorted({point.name for point in offered})
    if found:
        raise LoadError(name, f"{package} has several plugins", f"say which: {', '.join(names)}")
    hint = closest(entry, names) or f"there are {', '.join(names)}"
    raise LoadError(name, f'{package or "no installed package"} has no plugin "{entry}"', hint)


def _is_of(point: EntryPoint, package: str) -> bool:
    return point.dist is not None and canonicalize_name(point.dist.name) == canonicalize_name(package)


def _staged(name: str, stage: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except PluginError as error:
        raise StageFailed(name, stage, str(error)) from error
    except BaseException as error:  # SystemExit too: an author's module may call sys.exit
        if isinstance(error, KeyboardInterrupt):
            raise
        raise StageFailed(name, stage, told(error), author_traceback(error)) from error


def _threads() -> int:
    """Threads of this process, those of libraries in C too."""
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    main()
