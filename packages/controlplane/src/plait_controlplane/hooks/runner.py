"""Runs the hooks of the control plane's plugins and makes plain answers of whatever they do.

Used by the hooks' process, and in their own process by lint and `plait`. No plugin can do worse than give no answer.
"""

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry import metrics
from plait_sdk.control import Problem, Resource
from plait_sdk.host.dispatch import author_traceback, told
from plait_sdk.manager import Loaded

from plait_controlplane.hooks.answers import Failure, Judged, PluginState, Said
from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.hooks.loading import NotLoaded, hook_of, load_enabled
from plait_controlplane.hooks.thread import PluginThread, TooLong

LOG = logging.getLogger(__name__)
METER = metrics.get_meter(__name__)
CALLS = METER.create_counter("plait_hook_calls_total", description="Hooks called, by plugin, hook and outcome.")
SECONDS = METER.create_histogram("plait_hook_seconds", "s", "Time that hooks of the control plane took.")

# A plugin that fails for each of a thousand objects says so once in this time.
TRACEBACK_SECONDS = 10.0


class HookFailed(Exception):
    """A hook gave no answer that can be used."""


@dataclass
class Part:
    """One plugin that runs. `loaded` is None for one that could not be loaded."""

    enabled: Enabled
    state: PluginState
    loaded: Loaded | None = None
    thread: PluginThread | None = None
    told_at: float = field(default=-TRACEBACK_SECONDS)

    @property
    def is_open(self) -> bool:
        """Whether what it cannot judge passes."""
        return self.enabled.on_error == "Open"


class Runner:
    """All plugins, in the order of their file. Made where no other thread runs yet: loading must start none."""

    def __init__(self, enabled: Sequence[Enabled], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.parts = [self._part(one) for one in enabled]

    async def start(self) -> None:
        """Lets plugins open what they need; one that cannot is out."""
        for part in self._loaded():
            try:
                await self.call(part, "worker_started")
            except HookFailed as failed:
                part.loaded = None
                part.state.state, part.state.reason = "Failed", f"worker_started: {failed}"

    def stuck(self) -> list[str]:
        """Plugins whose hook could not be interrupted: this process has to be replaced."""
        return [part.enabled.called for part in self.parts if part.thread is not None and part.thread.stuck]

    async def judge(self, resources: Sequence[Resource]) -> list[Judged]:
        """What plugins make of each object, and say of it. One that used up its time is not asked again in a round."""
        slow: set[str] = set()
        return [await self._judge(resource, slow) for resource in resources]

    async def call(self, part: Part, hook: str, **arguments: Any) -> Any:
        """The answer of one plugin; None where it has no such hook. Raises HookFailed."""
        if part.loaded is None or part.thread is None:
            raise HookFailed(part.state.reason)
        found = hook_of(part.loaded, hook)
        if found is None:
            return None
        method, takes = found
        began = self._clock()
        labels = {"plugin": part.enabled.called, "hook": hook}
        part.state.calls += 1
        try:
            given = tuple(arguments[name] for name in takes)
            answer = await part.thread.call(method, given, part.enabled.deadline.total_seconds())
        except TooLong as error:
            raise self._failed(part, hook, str(error), None, labels | {"outcome": "timeout"}) from error
        except Exception as error:
            raise self._failed(part, hook, told(error), error, labels | {"outcome": "error"}) from error
        SECONDS.record(self._clock() - began, labels)
        CALLS.add(1, labels | {"outcome": "answered"})
        return answer

    def refuse(self, part: Part, hook: str, text: str) -> HookFailed:
        """An answer that is none, counted as a failure of the plugin."""
        labels = {"plugin": part.enabled.called, "hook": hook, "outcome": "junk"}
        return self._failed(part, hook, text, None, labels)

    def _loaded(self) -> list[Part]:
        return [part for part in self.parts if part.loaded is not None]

    def _part(self, enabled: Enabled) -> Part:
        state = PluginState(enabled.called)
        try:
            loaded = load_enabled(enabled)
        except NotLoaded as error:
            LOG.error("hooks: plugin %s is not loaded: %s\n%s", enabled.called, error, error.traceback)
            state.state, state.reason = "Failed", str(error)
            return Part(enabled, state)
        LOG.info("hooks: plugin %s %s: %s", enabled.called, loaded.version, ", ".join(loaded.hooks))
        state.version, state.hooks = loaded.version, loaded.hooks
        return Part(enabled, state, loaded, PluginThread(enabled.called))

    async def _judge(self, resource: Resource, slow: set[str]) -> Judged:
        lost = [part for part in self.parts if part.loaded is None]
        failures = tuple(Failure(one.enabled.called, "load", one.state.reason, one.is_open) for one in lost)
        judged, body = Judged(failures=failures), resource.body
        for hook in ("mutate", "validate"):
            for part in self._loaded():
                name = part.enabled.called
                try:
                    if name in slow:
                        raise HookFailed("it used up its time with an object before this one")
                    shown = replace(resource, body=copy.deepcopy(dict(body)))
                    answer = await self.call(part, hook, resource=shown)
                    if hook == "mutate" and answer is not None:
                        body = self._mutated(part, resource, answer)
                        judged = replace(judged, body=body)
                    elif hook == "validate":
                        judged = replace(judged, said=(*judged.said, *self._said(part, answer)))
                except HookFailed as failed:
                    if isinstance(failed.__cause__, TooLong):
                        slow.add(name)
                    failure = Failure(name, hook, str(failed), part.is_open)
                    judged = replace(judged, failures=(*judged.failures, failure))
        return judged

    def _mutated(self, part: Part, before: Resource, answer: Any) -> Mapping[str, Any]:
        if not isinstance(answer, Resource):
            raise self.refuse(part, "mutate", f"answered {type(answer).__name__}, not a plait.Resource or None")
        try:
            body = json.loads(json.dumps(dict(answer.body), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise self.refuse(part, "mutate", f"its body is no plain data: {error}") from error
        if _named(body) != _named(before.body):
            raise self.refuse(part, "mutate", "made another object of it: apiVersion, kind, name and namespace stay")
        return dict(body)

    def _said(self, part: Part, answer: Any) -> list[Said]:
        if answer is None:
            return []
        if not isinstance(answer, list | tuple) or not all(map(_is_problem, answer)):
            raise self.refuse(part, "validate", f"answered {answer!r:.80}, not a list of plait.Problem")
        return [Said(part.enabled.called, one.path, one.message, one.severity) for one in answer]

    def _failed(
        self, part: Part, hook: str, text: str, error: BaseException | None, labels: dict[str, str]
    ) -> HookFailed:
        CALLS.add(1, labels)
        part.state.failures += 1
        part.state.reason = f"{hook}: {text}"
        now = self._clock()
        if now - part.told_at >= TRACEBACK_SECONDS:
            part.told_at = now
            where = author_traceback(error) if error else ""
            LOG.error("hooks: plugin %s, %s: %s\n%s", part.enabled.called, hook, text, where)
        return HookFailed(text)


def _is_problem(value: Any) -> bool:
    if not isinstance(value, Problem):
        return False
    return all(isinstance(one, str) for one in (value.path, value.message)) and value.severity in ("error", "note")


def _named(body: Mapping[str, Any]) -> tuple[Any, ...]:
    meta = body.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    return body.get("apiVersion"), body.get("kind"), meta.get("namespace"), meta.get("name")
