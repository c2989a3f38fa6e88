"""What is in force: the objects of the directory, and for each that is broken its last good version. Pure.

Called by `app` with what was in force before and what was read now. In the place of a policy or a Mesh without a last
good version stands what denies (`standins`); anything else without one is left out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from plait_controlplane.resources.document import Document
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import Key, StoredObject, title
from plait_controlplane.resources.world import World
from plait_controlplane.sources.standins import stand_ins
from plait_controlplane.translate.everything import check

State = Literal["Accepted", "Refused", "Stale"]

# A reference that dangles keeps the rest of its object working: it is told, and no reason to refuse the object.
# Not so in an AuthorizationPolicy or a Plugin: one that finds no target guards nothing, so a slip of the pen would
# open a door.
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
    """The world in force. `stand_ins` are the policies and the Mesh that deny in the place of broken ones."""

    world: World = field(default_factory=World)
    verdicts: tuple[Verdict, ...] = ()
    stand_ins: frozenset[Key] = frozenset()
    seen: Mapping[Key, dict[str, Any]] = field(default_factory=dict)
    """The objects that all this was made of, as the API server of a cluster has them."""

    def good(self) -> dict[Key, StoredObject]:
        """What was right when it was read."""
        return {key: stored for key, stored in self.world.objects.items() if key not in self.stand_ins}

    def unreadable(self) -> str:
        """The files of which nobody knows what they hold, for people; empty = none."""
        return ", ".join(verdict.name for verdict in self.verdicts if verdict.kind == "File")

    def denying(self) -> dict[Key, StoredObject]:
        """The stand-ins."""
        return {key: self.world.objects[key] for key in self.stand_ins}


def settle(
    before: Settled, read: World, problems: Iterable[Problem], broken: Iterable[tuple[str, Document]]
) -> Settled:
    """`broken` are the documents of files with problems, by file: stand-ins are made from what can be read of them."""
    found = [problem for problem in problems if problem.severity == "error"]
    notes = [problem for problem in problems if problem.severity == "note"]
    good = before.good()
    lost_files = {problem.file for problem in found if not problem.object}
    bad = {problem.object for problem in found} - {title(key) for key in read.objects}
    stale = _stale(good, read, found, lost_files)
    objects = {**read.objects, **{key: good[key] for key in stale}}
    for problem in check(read.with_objects(objects)):
        told = next((key for key in objects if title(key) == problem.object), None)
        if told is None or told in stale or not _unusable(problem):
            continue
        found.append(problem)
        if told in good:
            objects[told] = good[told]
            stale.add(told)
        else:
            bad.add(problem.object)
    refused = {key: stored for key, stored in objects.items() if title(key) in bad and key not in stale}
    objects = {key: stored for key, stored in objects.items() if key not in refused}
    candidates = [*((stored.file, stored.document) for stored in refused.values()), *broken]
    denying = stand_ins(candidates, bad, objects, stale, before.denying())
    denying |= {key: one for key, one in before.denying().items() if one.file in lost_files and key not in objects}
    world = read.with_objects({**objects, **denying})
    found.extend(check(world))
    verdicts = _verdicts(world, stale, [*dict.fromkeys(found), *notes], set(denying))
    return Settled(world, verdicts, frozenset(denying))


def _stale(good: dict[Key, StoredObject], read: World, found: list[Problem], lost_files: set[str]) -> set[Key]:
    """What is broken now and was good before."""
    titles = {problem.object for problem in found}
    # Of an object whose name is broken only the kind is known: it can be any of that kind in its file.
    known = {title(key) for key in [*good, *read.objects]}
    nameless = {(problem.object.partition(" ")[0], problem.file) for problem in found if problem.object not in known}
    return {
        key
        for key, stored in good.items()
        if key not in read.objects
        and (title(key) in titles or stored.file in lost_files or (key[0], stored.file) in nameless)
    }


def _unusable(problem: Problem) -> bool:
    if problem.severity == "note":
        return False
    if problem.object.startswith(("AuthorizationPolicy ", "Plugin ")):
        return True
    return problem.message.startswith("UnsupportedValue") or not REFERENCES.search(problem.path)


def _gave_way(stored: StoredObject, own: tuple[Problem, ...]) -> bool:
    """A route that another kind of route has put aside on every parent: it is right, and has no effect."""
    parents = getattr(getattr(stored.resource, "spec", None), "parent_refs", ())
    told = [problem for problem in own if problem.severity == "error" and problem.message.startswith("Conflicted")]
    return bool(parents) and len(told) == len(parents)


def _verdicts(world: World, stale: set[Key], problems: list[Problem], denied: set[Key]) -> tuple[Verdict, ...]:
    by_title: dict[str, list[Problem]] = {}
    for problem in problems:
        by_title.setdefault(problem.object, []).append(problem)
    known = {title(key) for key in world.objects}
    verdicts = []
    for key, stored in world.objects.items():
        own = tuple(sorted(by_title.pop(title(key), [])))
        line = stored.document.place(("metadata", "name")).value[0]
        state: State = "Stale" if key in stale else "Refused" if key in denied or _gave_way(stored, own) else "Accepted"
        if state != "Accepted" and not own:
            # Nothing is told of it by name: its whole file, or its very name, cannot be read.
            nameless = (one for one in problems if one.file == stored.file and one.object not in known)
            own = tuple(one for one in nameless if one.object.partition(" ")[0] in ("", key[0]))
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
