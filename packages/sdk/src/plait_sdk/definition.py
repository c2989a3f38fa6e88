"""Owns the judgement of a plugin's class before it is made: every hook's name, arguments and kind against `hookspecs`.

Called by the manager at registration. What passes here cannot fail later for its shape; what does not is told with
plugin, hook, file and line, and what was probably meant.
"""

import inspect
from collections.abc import Callable
from typing import Any

from plait_sdk.errors import DefinitionError, closest
from plait_sdk.hookspecs import HOOKS, SPECS, arguments
from plait_sdk.markers import NO_BODY, PROJECT, Reads, Writes
from plait_sdk.plugin import Plugin

MARK = f"{PROJECT}_impl"
"""Where pluggy's marker leaves what `hookimpl` was given."""

EXAMPLE = {
    "body": "body=plait.buffer(65536)",
    "response_body": "response_body=plait.stream()",
    "trailers": "trailers=True",
}
"""What to declare for each `needs` of a hook."""


def check(name: str, plugin: type[Plugin[Any]]) -> tuple[str, ...]:
    """The hooks that a plugin's class implements, in the order of `hookspecs`.

    Raises:
        DefinitionError: the first thing that is wrong.
    """
    if not (inspect.isclass(plugin) and issubclass(plugin, Plugin)):
        raise DefinitionError(
            name, "class", _place(plugin), "is no subclass of plait_sdk.Plugin", "write class X(plait.Plugin[Config])"
        )
    _check_declarations(name, plugin)
    found = {}
    for attribute, value in inspect.getmembers_static(plugin):
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not inspect.isfunction(function):
            continue
        if hasattr(function, MARK):
            _check_hook(name, plugin, attribute, function)
            found[attribute] = function
        elif attribute in HOOKS:
            raise DefinitionError(
                name, attribute, _place(function), "is the name of a hook but would never be called",
                "put @plait.hookimpl above it, or rename it",
            )  # fmt: skip
    if not found:
        raise DefinitionError(name, "class", _place(plugin), "has no hook", "mark a method with @plait.hookimpl")
    return tuple(hook for hook in HOOKS if hook in found)


def _check_declarations(name: str, plugin: type[Plugin[Any]]) -> None:
    for attribute, wanted in (("reads", Reads), ("writes", Writes)):
        if not isinstance(getattr(plugin, attribute), wanted):
            text = f"is no plait.{wanted.__name__}"
            raise DefinitionError(
                name, attribute, _place(plugin), text, f"write {attribute} = plait.{wanted.__name__}(…)"
            )


def _check_hook(name: str, plugin: type[Plugin[Any]], hook: str, function: Callable[..., Any]) -> None:
    place = _place(function)
    if hook not in HOOKS:
        hint = closest(hook, HOOKS) or "docs/reference/hooks.md lists them"
        raise DefinitionError(name, hook, place, "there is no such hook", hint)
    _check_arguments(name, hook, function)
    if getattr(function, MARK)["wrapper"] and not inspect.isgeneratorfunction(function):
        raise DefinitionError(
            name, hook, place, "a wrapper is a generator", "write `answer = yield`, then `return answer`"
        )
    if not getattr(function, MARK)["wrapper"] and (
        inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    ):
        raise DefinitionError(
            name, hook, place, "yields, but is no wrapper", "return a value, or write @plait.hookimpl(wrapper=True)"
        )
    needs = SPECS[hook].needs
    if needs and getattr(plugin.reads, needs) in (NO_BODY, False):
        raise DefinitionError(name, hook, place, "would never run", f"declare reads = plait.Reads({EXAMPLE[needs]})")
    taken = inspect.signature(function).parameters
    if hook == "authorize" and "peer" in taken and not plugin.reads.peer:
        raise DefinitionError(
            name, hook, place, "takes the peer, which is not declared", "declare reads = plait.Reads(peer=True)"
        )


def _check_arguments(name: str, hook: str, function: Callable[..., Any]) -> None:
    place, known = _place(function), arguments(hook)
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].name != "self":
        raise DefinitionError(
            name, hook, place, "is a method without self", f"write def {hook}(self, {', '.join(known)})"
        )
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DefinitionError(
                name, hook, place, f"takes {parameter}, which hides what it uses", f"its arguments are {_told(known)}"
            )
        if parameter.name not in known:
            hint = closest(parameter.name, known) or f"its arguments are {_told(known)}"
            raise DefinitionError(name, hook, place, f'there is no argument "{parameter.name}"', hint)


def _told(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _place(thing: Any) -> str:
    """ "file:line" of a class or a function, as well as it is known."""
    code = getattr(thing, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):
        return getattr(thing, "__module__", "") or repr(thing)
