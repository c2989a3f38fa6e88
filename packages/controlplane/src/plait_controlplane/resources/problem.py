"""What is wrong with an object, in the user's terms: what, where, and what to write instead."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "note"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake. `line` and `column` count from 1; `path` is the field path, "spec.rules[0].matches[0]"."""

    file: str
    line: int
    column: int
    object: str
    path: str
    message: str
    severity: Severity = "error"


def path_text(path: Path) -> str:
    """("spec", "rules", 0) -> "spec.rules[0]"."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def did_you_mean(word: str, known: list[str]) -> str:
    """'; did you mean "value"?', or nothing when no known word is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
