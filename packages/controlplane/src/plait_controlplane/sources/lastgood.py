"""What is in force: the objects of the directory, and for each that is broken its last good version. Pure.

Called by `app` with the world before and what was read now. A security policy without a last good version denies all
that it covers; anything else without one is left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.document import Document
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import PLAIT, Key, StoredObject, title
from plait_controlplane.resources.world import World
from plait_controlplane.translate.everything import check

State = Literal["Accepted", "Refused", "Stale"]

# A reference that dangles keeps the rest of its object working: it is told, and no reason to refuse the object.
REFERENCES = re.compile(r"\b(backendRefs|parentRefs|targetRefs|binds)\b|\btargetPort$")


@dataclass(frozen=True)
class Verdict:
    """One object, or a file that cannot be read (kind "File"), and what became of it."""

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    state: State
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Settled:
    """The world in force. `stand_ins` are the policies that deny in the place of broken ones."""

    world: World
    verdicts: tuple[Verdict, ...]
    stand_ins: frozenset[Key] = frozenset()


def settle(before: World, read: World, problems: Iterable[Problem], broken: Iterable[tuple[str, Document]]) -> Settled:
    """`broken` are the documents of files with problems, by file: stand-ins are made from what can be read of them."""
    found = [problem for problem in problems if problem.severity == "error"]
    notes = [problem for problem in problems if problem.severity == "note"]
    lost_files = {problem.file for problem in found if not problem.object}
    bad = {problem.object for problem in found} - {title(key) for key in read.objects}
    objects = dict(read.objects)
    stale: set[Key] = set()
    for key, stored in before.objects.items():
        if key not in objects and (title(key) in bad or stored.file in lost_files):
            objects[key] = stored
            stale.add(key)
    for problem in check(World(dict(sorted(objects.items())))):
        told = next((key for key in objects if title(key) == problem.object), None)
        if told is None or told in stale or not _unusable(problem):
            continue
        found.append(problem)
        if told in before.objects:
            objects[told] = before.objects[told]
            stale.add(told)
        else:
            bad.add(problem.object)
    refused = {key: stored for key, stored in objects.items() if title(key) in bad and key not in stale}
    objects = {key: stored for key, stored in objects.items() if key not in refused}
    stand_ins = _stand_ins(bad, refused, broken, objects)
    world = World(dict(sorted({**objects, **stand_ins}.items())))
    found.extend(check(world))
    return Settled(
        world, _verdicts(world, stale, [*dict.fromkeys(found), *notes], set(stand_ins)), frozenset(stand_ins)
    )


def _unusable(problem: Problem) -> bool:
    if problem.severity == "note":
        return False
    return problem.message.startswith("UnsupportedValue") or not REFERENCES.search(problem.path)


def _stand_ins(
    bad: set[str],
    refused: dict[Key, StoredObject],
    broken: Iterable[tuple[str, Document]],
    kept: dict[Key, StoredObject],
) -> dict[Key, StoredObject]:
    found: dict[Key, StoredObject] = {}
    candidates = [(stored.file, stored.document) for stored in refused.values()]
    for file, document in [*candidates, *broken]:
        policy = _stand_in(document.data)
        if policy is None:
            continue
        stored = StoredObject(policy, file, document)
        if title(stored.key) in bad and stored.key not in kept:
            found.setdefault(stored.key, stored)
    return found


def _stand_in(data: Any) -> AuthorizationPolicy | None:
    """A policy that denies everybody what the broken one covers; None when the document is none that enforces."""
    if not isinstance(data, dict) or (data.get("apiVersion"), data.get("kind")) != (PLAIT, "AuthorizationPolicy"):
        return None
    spec: dict[str, Any] = data["spec"] if isinstance(data.get("spec"), dict) else {}
    if spec.get("mode") == "DryRun":
        return None
    reach = {name: spec[name] for name in ("targetRefs", "selector") if name in spec}
    for covered in (reach, {}):  # what it covers cannot be read: its whole namespace
        try:
            return AuthorizationPolicy.model_validate({**data, "spec": {**covered, "action": "Deny", "rules": [{}]}})
        except ValidationError:
            continue
    return None


def _verdicts(world: World, stale: set[Key], problems: list[Problem], denied: set[Key]) -> tuple[Verdict, ...]:
    by_title: dict[str, list[Problem]] = {}
    for problem in problems:
        by_title.setdefault(problem.object, []).append(problem)
    verdicts = []
    for key, stored in world.objects.items():
        own = tuple(sorted(by_title.pop(title(key), [])))
        line = stored.document.place(("metadata", "name")).value[0]
        state: State = "Stale" if key in stale else "Refused" if key in denied else "Accepted"
        if state == "Stale" and not own:
            own = tuple(problem for problem in problems if problem.file == stored.file and not problem.object)
        verdicts.append(Verdict(*key, stored.file, line, state, own))
    for name, own_problems in by_title.items():
        errors = tuple(sorted(problem for problem in own_problems if problem.severity == "error"))
        if errors and name:
            kind, _, full = name.partition(" ")
            namespace, _, short = full.rpartition("/")
            verdicts.append(Verdict(kind, namespace, short, errors[0].file, errors[0].line, "Refused", errors))
        elif errors:
            for file in dict.fromkeys(problem.file for problem in errors):
                own = tuple(problem for problem in errors if problem.file == file)
                verdicts.append(Verdict("File", "", file, file, own[0].line, "Refused", own))
    return tuple(verdicts)
