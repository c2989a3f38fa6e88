"""What was translated before, kept for as long as nothing that went into it changes. Held by `app`.

A source that keeps its objects as they are until they change makes most of a large world cost nothing when a small part
of it changes. It must be told everything that a message is made of: what is forgotten here would be stale there, and a
test compares whole worlds, changed at random, with their translation from nothing.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from plait_sdk.contracts import resource_pb2

from plait_controlplane.translate.names import resource

Key = tuple[resource_pb2.ResourceKind.ValueType, str]
Inputs = tuple[Any, ...]


class Memo:
    """One for one world. Use: `begin`, then `made` for each resource of it."""

    def __init__(self) -> None:
        self._before: dict[Key, tuple[Inputs, resource_pb2.Resource]] = {}
        self._now: dict[Key, tuple[Inputs, resource_pb2.Resource]] = {}
        self._editions: dict[str, tuple[Inputs, int]] = {}

    def begin(self) -> None:
        """A new round: what the round before this did not ask for is forgotten."""
        self._before, self._now = self._now, {}

    def edition(self, name: str, parts: Inputs) -> int:
        """A number that is another when one of the parts is: for what goes into many resources."""
        before = self._editions.get(name)
        if before is not None and _same(before[0], parts):
            return before[1]
        number = before[1] + 1 if before else 0
        self._editions[name] = (parts, number)
        return number

    def made(self, key: Key, inputs: Inputs, make: Callable[[], Message]) -> resource_pb2.Resource:
        """The resource: the one before when its inputs are the same."""
        before = self._before.get(key)
        kept = before is not None and _same(before[0], inputs)
        found = before[1] if before and kept else resource(*key, make())
        self._now[key] = (inputs, found)
        return found


def _same(before: Inputs, now: Inputs) -> bool:
    """Objects of the world are the same only when they are one; texts and numbers when they are equal."""
    if len(before) != len(now):
        return False
    for one, other in zip(before, now, strict=True):
        if one is other:
            continue
        if isinstance(one, tuple) and isinstance(other, tuple):
            if not _same(one, other):
                return False
        elif not (isinstance(one, str | int) and one == other):
            return False
    return True
