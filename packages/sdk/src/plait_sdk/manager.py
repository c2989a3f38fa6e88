"""Owns how plugins become chains: each is judged, configured and scoped, then pluggy orders the hooks of all.

Called by the worker once per generation, by the harness and by `plait plugin check`. The result holds direct
references to methods: nothing of pluggy runs while requests do.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pluggy

from plait_sdk.calls import Interest, Phase
from plait_sdk.config import read_config
from plait_sdk.definition import check
from plait_sdk.hookspecs import FAMILIES, HOOKS, ORDER_IN_REQUEST, SPECS, Combine
from plait_sdk.markers import PROJECT
from plait_sdk.plugin import Plugin
from plait_sdk.scope import Scope, resolve

OnError = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that is configured: what a `Plugin` object of the user's stands for."""

    name: str
    version: str
    plugin: Plugin[Any]
    scope: Scope
    hooks: tuple[str, ...]
    on_error: OnError


@dataclass(frozen=True, slots=True)
class Step:
    """One hook of one plugin. `index` is the plugin's place in the chain, `takes` the names of the arguments it
    wants.
    """

    index: int
    loaded: Loaded
    hook: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    is_async: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """All steps of one hook in running order, and the wrappers around them, outermost first."""

    hook: str
    combine: Combine
    steps: tuple[Step, ...]
    wrappers: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The plugins of a rule, compiled: what runs in each phase, and which hooks run elsewhere."""

    plugins: tuple[Loaded, ...]
    phases: Mapping[int, tuple[Stage, ...]]
    others: Mapping[str, Stage]

    @property
    def is_async(self) -> bool:
        """Whether any hook on the path of requests has to be awaited."""
        return any(step.is_async for stages in self.phases.values() for stage in stages for step in stage.steps)


def load(
    name: str,
    plugin: type[Plugin[Any]],
    config: Mapping[str, Any] | None,
    interest: Interest,
    *,
    version: str = "",
    on_error: OnError = "closed",
) -> Loaded:
    """Judges a plugin's class, reads its configuration and makes it.

    Raises:
        DefinitionError: the class is wrong.
        ConfigError: the configuration is.
    """
    hooks = check(name, plugin)
    values = read_config(name, plugin.config_model(), config)
    made = plugin(values)
    return Loaded(name, version, made, resolve(name, made.reads, made.writes, values, interest), hooks, on_error)


def build(plugins: Sequence[Loaded]) -> Chain:
    """Compiles plugins, given in the order in which they shall run, into a chain."""
    register = pluggy.PluginManager(PROJECT)
    for family in FAMILIES:
        register.add_hookspecs(family)
    for loaded in reversed(plugins):  # pluggy calls last what was registered first
        register.register(loaded.plugin, name=loaded.name)
    places = {loaded.name: index for index, loaded in enumerate(plugins)}
    stages = {hook: _stage(hook, register, plugins, places) for hook in _running_order()}
    present = {hook: stage for hook, stage in stages.items() if stage.steps}
    phases: dict[int, tuple[Stage, ...]] = {}
    for hook, stage in present.items():
        phase = SPECS[hook].phase
        if phase is not None:
            phases[phase] = (*phases.get(phase, ()), stage)
    return Chain(tuple(plugins), phases, {hook: stage for hook, stage in present.items() if SPECS[hook].phase is None})


def _running_order() -> list[str]:
    return [*ORDER_IN_REQUEST, *(hook for hook in HOOKS if hook not in ORDER_IN_REQUEST)]


def _stage(hook: str, register: pluggy.PluginManager, plugins: Sequence[Loaded], places: Mapping[str, int]) -> Stage:
    steps: list[Step] = []
    wrappers: list[Step] = []
    for implementation in reversed(getattr(register.hook, hook).get_hookimpls()):
        index = places[implementation.plugin_name]
        step = Step(
            index=index,
            loaded=plugins[index],
            hook=hook,
            function=implementation.function,
            takes=tuple(inspect.signature(implementation.function).parameters),
            is_async=inspect.iscoroutinefunction(implementation.function),
        )
        (wrappers if implementation.wrapper else steps).append(step)
    return Stage(hook, SPECS[hook].combine, tuple(steps), tuple(wrappers))


def phases_of(loaded: Loaded) -> tuple[str, ...]:
    """The phases that must cross for a plugin, by the names of the protocol."""
    wanted = {SPECS[hook].phase for hook in loaded.hooks}
    return tuple(phase.name.lower() for phase in Phase if phase in wanted)
