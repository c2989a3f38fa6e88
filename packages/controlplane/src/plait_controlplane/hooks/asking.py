"""The other questions to plugins: whether a certificate is given, whether what they need is there, their verbs.

Called by the hooks' process and by `plait`, each with its `Runner`. Certificates fail closed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from plait_sdk.control import Check, Command, IdentityRequest, Lifetime
from plait_sdk.verdict import Continue, Deny

from plait_controlplane.hooks.answers import Permit
from plait_controlplane.hooks.runner import HookFailed, Part, Runner

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Checked:
    """A check of a plugin's."""

    plugin: str
    check: Check


async def permit(runner: Runner, request: IdentityRequest) -> Permit:
    """The first refusal, else the shortest life. A plugin that cannot say refuses, unless it is Open."""
    seconds = request.lifetime_seconds
    for part in runner.parts:
        name = part.enabled.called
        try:
            answer = await runner.call(part, "issue_identity", request=request)
            match answer:
                case None | Continue():
                    continue
                case Deny(reason=reason):
                    return Permit(f"plugin {name}: {reason}", 0)
                case Lifetime(seconds=int(wanted)) if wanted > 0:
                    seconds = min(seconds, wanted)
                case _:
                    text = f"answered {answer!r:.80}, not a Deny, a Lifetime or None"
                    raise runner.refuse(part, "issue_identity", text)
        except HookFailed as failed:
            if not part.is_open:
                return Permit(f"plugin {name} could not say: {failed}", 0)
    return Permit("", seconds)


async def checks(runner: Runner) -> list[Checked]:
    """What plugins found out about what they need; one that cannot say is a check that failed."""
    found = []
    for part in runner.parts:
        try:
            answer = await _listed(runner, part, "checks", Check)
        except HookFailed as failed:
            answer = [Check("it answers", ok=False, message=str(failed))]
        found += [Checked(part.enabled.called, one) for one in answer]
    return found


async def commands(runner: Runner, failed: Callable[[str], None]) -> list[Command]:
    """The verbs of all plugins; those that have none to give are told."""
    found: list[Command] = []
    for part in runner.parts:
        try:
            found += await _listed(runner, part, "commands", Command)
        except HookFailed as error:
            failed(f"plugin {part.enabled.called} gives no verbs: {error}")
    return found


async def _listed(runner: Runner, part: Part, hook: str, kind: type[Thing]) -> Sequence[Thing]:
    answer = await runner.call(part, hook)
    if answer is None:
        return []
    if not isinstance(answer, list | tuple) or not all(isinstance(one, kind) for one in answer):
        raise runner.refuse(part, hook, f"answered {answer!r:.80}, not a list of plait.{kind.__name__}")
    return list(answer)
