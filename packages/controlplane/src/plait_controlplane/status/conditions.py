"""The conditions of an object, in the words of the Gateway API. Pure; called by `writer`.

From what became of the object (`Verdict`) and from how far the proxies are (`Programming`). What cannot be said of one
parentRef is said of all.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plait_controlplane.resources.problem import Problem
from plait_controlplane.sources.lastgood import Verdict

LONGEST = 2000
"""A message is for people; the API server takes 32 KiB."""

DENYING = ("AuthorizationPolicy", "Mesh")
"""In the place of one of these that is broken stands what denies (`sources.standins`)."""

_PARENT = re.compile(r"^spec\.parentRefs\[(\d+)\]")
_REFERENCE = re.compile(r"\b(backendRefs?|targetRefs)\b")


@dataclass(frozen=True)
class Condition:
    """One condition, without its times."""

    type: str
    is_true: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Programming:
    """How far the connected proxies are with an object."""

    behind: tuple[str, ...] = ()
    """Proxies that need it and have not said yet that they have it."""
    rejected: tuple[str, ...] = ()
    """What proxies said that would not take it."""


def of_object(verdict: Verdict, programming: Programming) -> list[Condition]:
    """Of a kind of our own."""
    return [_accepted(verdict, verdict.problems), _resolved(verdict.problems), _programmed(verdict, programming)]


def of_parent(verdict: Verdict, index: int, programming: Programming) -> list[Condition]:
    """Of the parentRef of that number, among those that name Services."""
    own = [problem for problem in verdict.problems if _concerns(problem, index)]
    conditions = [_accepted(verdict, own), _resolved(own), _programmed(verdict, programming)]
    if not conditions[0].is_true and verdict.state != "Stale":
        conditions[2] = Condition("Programmed", False, "Invalid", "nothing of it is in force here")
    conflicts = [problem.message for problem in own if problem.message.startswith("Conflicted")]
    if conflicts:
        conditions.append(Condition("Conflicted", True, "RouteKinds", _joined(conflicts)))
    return conditions


def _concerns(problem: Problem, index: int) -> bool:
    found = _PARENT.match(problem.path)
    return found is None or int(found[1]) == index


def _accepted(verdict: Verdict, problems: Sequence[Problem]) -> Condition:
    mine = [problem for problem in problems if problem.severity == "error" and not _is_reference(problem)]
    if mine:
        kept = "; its last good version goes on" if verdict.state == "Stale" else ""
        return Condition("Accepted", False, _reason(mine[0]), _told(mine) + kept)
    if verdict.state != "Accepted" and not any(_PARENT.match(problem.path) for problem in verdict.problems):
        errors = [problem for problem in problems if problem.severity == "error"]
        return Condition("Accepted", False, "Invalid", _told(errors) or "it cannot be read")
    notes = _told(problem for problem in problems if problem.severity == "note")
    return Condition("Accepted", True, "Accepted", notes or "in force as written")


def _reason(problem: Problem) -> str:
    if problem.message.startswith("Conflicted"):
        return "Conflicted"
    if by_plugin := re.match(r"(RefusedByPlugin|PluginFailed)\b", problem.message):
        return by_plugin[1]
    if _PARENT.match(problem.path) and not problem.message.startswith("UnsupportedValue"):
        return "NoMatchingParent"
    return "UnsupportedValue"


def _is_reference(problem: Problem) -> bool:
    """A reference that leads nowhere: the rest of the object works."""
    return bool(_REFERENCE.search(problem.path)) and not problem.message.startswith(
        ("UnsupportedValue", "unknown field", "RefusedByPlugin", "PluginFailed")
    )


def _resolved(problems: Sequence[Problem]) -> Condition:
    found = [problem for problem in problems if problem.severity == "error" and _is_reference(problem)]
    if not found:
        return Condition("ResolvedRefs", True, "ResolvedRefs", "every reference was found")
    field = found[0].path.rpartition(".")[2]
    target = "TargetNotFound" if "targetRefs" in found[0].path else "BackendNotFound"
    return Condition("ResolvedRefs", False, "InvalidKind" if field == "kind" else target, _told(found))


def _programmed(verdict: Verdict, programming: Programming) -> Condition:
    if programming.rejected:
        return Condition("Programmed", False, "Rejected", _joined(programming.rejected))
    if verdict.state == "Refused" and verdict.kind in DENYING:
        return Condition("Programmed", False, "Invalid", "until it is right, all that it covers is denied")
    if verdict.state == "Refused":
        return Condition("Programmed", False, "Invalid", "nothing of it is in force")
    if programming.behind:
        some = ", ".join(programming.behind[:3]) + (", ..." if len(programming.behind) > 3 else "")
        message = f"{len(programming.behind)} connected proxies have not taken it yet: {some}"
        return Condition("Programmed", False, "Pending", message)
    which = "its last good version" if verdict.state == "Stale" else "it"
    return Condition("Programmed", True, "Programmed", f"every connected proxy that needs it has {which}")


def _told(problems: Iterable[Problem]) -> str:
    return _joined(f"{one.path}: {one.message}" if one.path else one.message for one in problems)


def _joined(messages: Iterable[str]) -> str:
    text = "; ".join(dict.fromkeys(messages))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
