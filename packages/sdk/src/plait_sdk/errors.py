"""Owns every error that the SDK raises: what is wrong, where, and what to write instead.

Raised by the configuration, the manager, the views and the worker; `plait plugin` and the control plane print them.
The tree:

    PluginError
    ├── DefinitionError   the class is wrong: a hook's name, an argument, a missing declaration
    ├── ConfigError       the configuration does not fit the plugin's own model
    ├── LoadError         the package cannot be found, imported, configured or does not pass its self-test
    └── UndeclaredError   a hook reads or changes what its plugin did not declare
    HookTimeout           raised inside a hook that used up its time (no Exception, so that `except Exception` lets it
    pass)
"""

import difflib
from collections.abc import Iterable


class PluginError(Exception):
    """The root of all errors here. `hint` says what to do next and may be empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint


class DefinitionError(PluginError):
    """A plugin's class is wrong. `plugin`, `hook` and `place` ("file:line") name the culprit."""

    def __init__(self, plugin: str, hook: str, place: str, message: str, hint: str = "") -> None:
        super().__init__(f"{place}: plugin {plugin}, {hook}: {message}", hint)
        self.plugin = plugin
        self.hook = hook
        self.place = place


class ConfigError(PluginError):
    """A configuration that the plugin's model refuses. `problems` are pairs of a path ("routes[2].weight") and a
    reason.
    """

    def __init__(self, plugin: str, problems: Iterable[tuple[str, str]]) -> None:
        self.plugin = plugin
        self.problems = tuple(problems)
        told = "; ".join(f"config.{path}: {reason}" if path else f"config: {reason}" for path, reason in self.problems)
        super().__init__(f"plugin {plugin}: {told}")


class LoadError(PluginError):
    """A plugin that cannot be loaded. `traceback` starts at the author's code and may be empty."""

    def __init__(self, plugin: str, message: str, hint: str = "", traceback: str = "") -> None:
        super().__init__(f"plugin {plugin}: {message}", hint)
        self.plugin = plugin
        self.traceback = traceback


class UndeclaredError(PluginError):
    """A hook touched what its plugin did not declare in `reads` or `writes`."""


class HookTimeout(BaseException):
    """Raised inside a hook whose time is over. Clean up and let it pass; the request was already answered by
    `onTimeout`.
    """


def closest(word: str, known: Iterable[str]) -> str:
    """A question to end a message with, ' Did you mean "x"?', or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""
