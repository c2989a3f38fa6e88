"""The outcome of a group as a table of Markdown that docs/performance.md takes as it is.

Called by bench.py and goals.py; measures and judges nothing.
"""

import statistics

from groups import Outcome
from rounds import Row


def table(outcome: Outcome) -> str:
    columns = list(next(iter(outcome.rows.values())))
    lines = [f"{outcome.title}, median (least to most), ratio to Envoy:", ""]
    lines += ["| proxy | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in outcome.rows:
        cells = [cell(outcome, name, column) for column in columns]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    lines += calls(outcome)
    return "\n".join(lines)


def cell(outcome: Outcome, name: str, column: str) -> str:
    row = outcome.rows[name].get(column)
    if row is None:
        return "–"
    if row.void:
        return f"void: {row.void}"
    text = f"{statistics.median(row.figures):.1f}"
    if len(row.figures) > 1:
        text += f" ({min(row.figures):.1f} to {max(row.figures):.1f})"
    base = outcome.against.get(name, twin(name))
    times = ratio(row, outcome.rows.get(base, {}).get(column))
    return text if times is None or name == base else f"{text}, {times:.2f}x"


def twin(name: str) -> str:
    """Envoy's contender that does the same: "nginx pair" -> "envoy pair"."""
    return " ".join(["envoy", *name.split()[1:]])


def ratio(row: Row | None, base: Row | None) -> float | None:
    """Of the medians; None where one of them does not count, or where what a proxy adds is lost in the noise."""
    if row is None or base is None or row.void or base.void or not row.figures or not base.figures:
        return None
    above, below = statistics.median(row.figures), statistics.median(base.figures)
    return above / below if above > 0 and below > 0 else None


def calls(outcome: Outcome) -> list[str]:
    if not outcome.calls:
        return []
    lines = ["", "System calls a request:", "", "| proxy | all | of them |", "|---|---|---|"]
    for name, counts in outcome.calls.items():
        most = ", ".join(f"{call} {count:.2f}" for call, count in counts.items() if count >= 0.02)
        lines.append(f"| {name} | {sum(counts.values()):.2f} | {most} |")
    return lines
