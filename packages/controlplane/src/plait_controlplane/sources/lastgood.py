"""What is in force: the objects of the directory, and for each that is broken its last good version. Pure.

Called by `app` with the world before and what was read now. A security policy without a last good version denies all
that it covers, a Mesh without one denies everything; anything else without one is left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from plait_controlplane.resources.authorizationpolicy import AuthorizationPolicy
from plait_controlplane.resources.document import Document
from plait_controlplane.resources.fields import ObjectName, Resource
from plait_controlplane.resources.mesh import Mesh
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import PLAIT, Key, StoredObject, title
from plait_controlplane.resources.world import ROOT_NAMESPACE, World
from plait_controlplane.translate.everything import check
from plait_controlplane.translate.policy import TARGETS

State = Literal["Accepted", "Refused", "Stale"]

# A reference that dangles keeps the rest of its object working: it is told, and no reason to refuse the object.
# Not so in an AuthorizationPolicy: one that finds no target guards nothing, so a slip of the pen would open a door.
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
    if problem.object.startswith("AuthorizationPolicy "):
        return True
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
        resource = _stand_in(document.data, kept)
        if resource is None:
            continue
        stored = StoredObject(resource, file, document)
        # A Mesh of another name is refused too, and is still what the user wanted to be true everywhere.
        if (title(stored.key) in bad or isinstance(resource, Mesh)) and stored.key not in kept:
            found.setdefault(stored.key, stored)
    return found


def _stand_in(data: Any, kept: dict[Key, StoredObject]) -> Resource | None:
    """What denies in the place of a broken object; None when the object would enforce nothing."""
    if not isinstance(data, dict) or data.get("apiVersion") != PLAIT:
        return None
    spec: dict[str, Any] = data["spec"] if isinstance(data.get("spec"), dict) else {}
    if data.get("kind") == "Mesh":
        return _closed_mesh(spec)
    if data.get("kind") != "AuthorizationPolicy" or spec.get("mode") == "DryRun":
        return None
    reach = {name: spec[name] for name in ("targetRefs", "selector") if name in spec}
    for covered in (reach, {}):  # what it covers cannot be read or found: its whole namespace
        try:
            policy = AuthorizationPolicy.model_validate({**data, "spec": {**covered, "action": "Deny", "rules": [{}]}})
        except ValidationError:
            continue
        if all(_there(policy, ref, kept) for ref in policy.spec.target_refs):
            return policy
    return None


def _there(policy: AuthorizationPolicy, ref: ObjectName, kept: dict[Key, StoredObject]) -> bool:
    """Whether a target stands for anything that the policy may guard."""
    namespace = policy.metadata.namespace
    if ref.kind == "Service":
        return (ref.group, ref.namespace or namespace) == ("", namespace) and ("Service", namespace, ref.name) in kept
    return ref.kind in TARGETS and (ref.kind != "Mesh" or namespace == ROOT_NAMESPACE)


def _closed_mesh(spec: dict[str, Any]) -> Mesh:
    """Strict, nobody may call, nothing leaves; of what the user wrote only the trust domain, when that can be read."""
    head = {"apiVersion": PLAIT, "kind": "Mesh", "metadata": {"name": "default"}}
    closed = {"defaultPolicy": "DenyAll", "egress": "Deny"}
    try:
        return Mesh.model_validate({**head, "spec": {**closed, "trustDomain": spec.get("trustDomain")}})
    except ValidationError:
        return Mesh.model_validate({**head, "spec": closed})


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
