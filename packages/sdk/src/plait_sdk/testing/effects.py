"""Owns what effects do to a request or a response under test: the same changes that a proxy would make.

Called by `passage`; pure.
"""

from collections.abc import Iterable

from plait_sdk.host.memory import Effect

Pairs = list[tuple[str, str]]
LINE = ("method", "path", "query", "authority")
"""What effects may replace in the first line of a request."""


def changed(pairs: Pairs, section: str, effects: Iterable[Effect]) -> Pairs:
    """Headers after the effects on their section: "request_header", "response_header" or "trailer"."""
    for effect in effects:
        action, _, touched = effect.kind.partition("_")
        if touched != section:
            continue
        if action != "append":
            pairs = [pair for pair in pairs if pair[0] != effect.name]
        if action != "remove":
            pairs = [*pairs, (effect.name, effect.value)]
    return pairs


def noted(kind: str, effects: Iterable[Effect]) -> dict[str, str]:
    """What effects say by name: "label", "attribute" or "span_attribute"."""
    return {effect.name: effect.value for effect in effects if effect.kind == kind}


def last(kind: str, effects: Iterable[Effect]) -> str | None:
    """What effects of a kind said last, None when there is none."""
    found = [effect.name for effect in effects if effect.kind == kind]
    return found[-1] if found else None
