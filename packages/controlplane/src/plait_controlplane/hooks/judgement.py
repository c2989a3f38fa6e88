"""The world as plugins leave it: filled in by `mutate`, judged by `validate`. Each version of an object is asked about
once.

Called by `app` and by lint, between reading and settling. An object that nobody could judge counts as broken: its last
good version goes on, and where there is none it is not in force.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait_sdk.control import Resource
from pydantic import ValidationError

from plait_controlplane.hooks.answers import Away, Failure, Judge, Judged
from plait_controlplane.resources.document import Document, Place
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import Key, StoredObject, described
from plait_controlplane.resources.world import World

REFUSED = "RefusedByPlugin"
FAILED = "PluginFailed"

# So many objects are asked about at once: an answer comes before anybody could think that none does.
BATCH = 50


@dataclass(frozen=True)
class Reviewed:
    """The world without what was refused; what was, with its problems; and how much could not be judged."""

    world: World
    problems: list[Problem] = field(default_factory=list)
    broken: list[tuple[str, Document]] = field(default_factory=list)
    unjudged: int = 0
    judged: int = 0


class ChangedDocument(Document):
    """What a plugin made of a document: the places are those of the fields that the user wrote."""

    def __init__(self, data: Any, written: Document) -> None:
        super().__init__(data)
        self._written = written

    def place(self, path: Path) -> Place:
        """The place of the path, or of what is nearest around it, in what the user wrote."""
        return self._written.place(path)

    def has(self, path: Path) -> bool:
        """Whether a field stands there now."""
        return self._written.has(path) or _found(self.data, path)


class Judgement:
    """Remembers what was said of each version."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[Key, tuple[Any, Judged]] = {}
        self._made: dict[Key, tuple[StoredObject, StoredObject]] = {}

    def forget(self) -> None:
        """The plugins are others now."""
        self._known.clear()
        self._made.clear()

    async def over(self, world: World) -> Reviewed:
        """Judges what is new, and what could not be judged before."""
        fresh = [stored for key, stored in world.objects.items() if not self._knows(key, stored)]
        answers = {}
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            for stored, judged in zip(batch, await self._ask(batch), strict=True):
                answers[stored.key] = judged
        known = {key: self._known[key] for key in world.objects if key in self._known and key not in answers}
        new = {key: (world.objects[key].document.data, one) for key, one in answers.items() if not one.is_unjudged}
        self._known = known | new
        reviewed = Reviewed(world, unjudged=sum(one.is_unjudged for one in answers.values()), judged=len(self._known))
        kept: dict[Key, StoredObject] = {}
        for key, stored in world.objects.items():
            judged = answers[key] if key in answers else self._known[key][1]
            one, problems = self._outcome(key, stored, judged)
            reviewed.problems.extend(problems)
            if any(problem.severity == "error" for problem in problems):
                reviewed.broken.append((stored.file, one.document))
            else:
                kept[key] = one
        self._made = {key: made for key, made in self._made.items() if key in kept}
        return Reviewed(
            world.with_objects(kept), reviewed.problems, reviewed.broken, reviewed.unjudged, reviewed.judged
        )

    def _knows(self, key: Key, stored: StoredObject) -> bool:
        before = self._known.get(key)
        return before is not None and before[0] == stored.document.data

    async def _ask(self, batch: Sequence[StoredObject]) -> list[Judged]:
        try:
            return await self._judge.judge([resource_of(stored) for stored in batch])
        except Away as error:
            return [Judged(failures=(Failure("", "", str(error)),)) for _ in batch]

    def _outcome(self, key: Key, stored: StoredObject, judged: Judged) -> tuple[StoredObject, list[Problem]]:
        """The object as it counts, and what was said of it."""
        problems = [_failed(stored, failure) for failure in judged.failures]
        one = stored
        if judged.body is not None and not judged.is_unjudged:
            before = self._made.get(key)
            if before is not None and before[0] is stored:
                one = before[1]  # the same value as long as it stays: others remember what they made of it
            else:
                one, wrong = _changed(stored, judged.body)
                problems.extend(wrong)
                self._made[key] = (stored, one)
        for said in judged.said:
            word = f"{REFUSED} {said.plugin}" if said.severity == "error" else f"plugin {said.plugin}"
            problems.append(_problem(one, said.path, f"{word}: {said.message}", said.severity))
        return one, problems


def resource_of(stored: StoredObject) -> Resource:
    """As plugins are shown an object: a copy of its own."""
    kind, namespace, name = stored.key
    return Resource(kind, namespace, name, json.loads(json.dumps(stored.document.data, default=str)))


def _failed(stored: StoredObject, failure: Failure) -> Problem:
    who = f" {failure.plugin}: {failure.hook}" if failure.plugin else ""
    told = f"{FAILED}{who}: {failure.text}"
    if failure.is_open:
        return stored.problem((), f"{told}; it passes all the same, as onError: Open says", "note")
    return stored.problem((), f"{told}; until it was judged this version is not in force")


def _changed(stored: StoredObject, body: Mapping[str, Any]) -> tuple[StoredObject, list[Problem]]:
    """The object that plugins made; what is wrong with it is a problem of theirs, told at the user's object."""
    document = ChangedDocument(dict(body), stored.document)
    model = type(stored.resource)
    try:
        return StoredObject(model.model_validate(document.data), stored.file, document), []
    except ValidationError as error:
        found = [described(stored.file, model, document, details) for details in error.errors()]
        word = f"{FAILED}: what plugins made of it is no {stored.resource.kind}"
        return stored, [_problem(stored, one.path, f"{word}: {one.message}", "error") for one in found]


def _problem(stored: StoredObject, path: str, message: str, severity: str) -> Problem:
    place = stored.document.place(_steps(path)).value
    return Problem(stored.file, *place, stored.title, path, message, "note" if severity == "note" else "error")


def _steps(path: str) -> Path:
    """ "spec.rules[0].name" -> ("spec", "rules", 0, "name")."""
    steps = path.replace("[", ".").replace("]", "").split(".")
    return tuple(int(step) if step.isdigit() else step for step in steps if step)


def _found(data: Any, path: Path) -> bool:
    for step in path:
        fits = step in data if isinstance(data, dict) else isinstance(data, list) and step in range(len(data))
        if not fits:
            return False
        data = data[step]
    return True
