"""Owns what printed text looks like: the console, tables that fit 100 columns, spans of time, JSON.

Called by all verbs.
"""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A pipe has no width of its own: what we print is made to fit this many columns.
PIPE_WIDTH = 100


class Format(StrEnum):
    """How facts are printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="Table for people, json for programs.")]


def console() -> Console:
    """The console of one command; no colour and a fixed width in a pipe."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def table(*headers: str) -> Table:
    """A table without lines; a header that starts with ">" is aligned to the right."""
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        result.add_column(header.removeprefix(">"), justify="right" if header.startswith(">") else "left", no_wrap=True)
    return result


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows as a table; cells are plain text, never markup."""
    result = table(*headers)
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    console().print(result)


def print_json(facts: object) -> None:
    """Prints facts under their stable names."""
    print(json.dumps(facts, indent=2, ensure_ascii=False))


def span(seconds: float) -> str:
    """A length of time in two units at most: "3 s", "12 min", "11 h 52 min", "3649 days"."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} days"


def milliseconds(seconds: float | None) -> str:
    """A latency: "0.4 ms", "12 ms", "–" when there is none."""
    if seconds is None:
        return "–"
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def percent(part: float, whole: float) -> str:
    """A share in percent, "–" of nothing."""
    return f"{100 * part / whole:.2f} %" if whole else "–"


def count(number: int, noun: str) -> str:
    """ "1 problem", "2 problems"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
