"""Owns what `plait plugin check` and `bench` print for people.

Called by `verbs/plugin.py`; the facts come from processes of their own.
"""

from collections.abc import Sequence
from typing import Any

from plait_cli.output import console, print_table


def print_findings(name: str, findings: Sequence[dict[str, Any]]) -> None:
    """Each rule with a mark; what is broken with the author's traceback and what to do."""
    say = console()
    for finding in findings:
        say.print(f"{'✓' if finding['ok'] else '✗'} {finding['rule']}", markup=False)
        if finding["ok"]:
            if finding["message"]:
                say.print(f"  · {finding['message']}", markup=False)
            continue
        for line in (finding["message"].splitlines() + finding["traceback"].splitlines()) or [""]:
            say.print(f"    {line}".rstrip(), markup=False)
        if finding["hint"]:
            say.print(f"  → {finding['hint']}", markup=False)
    broken = sum(not finding["ok"] for finding in findings)
    told = f"{broken} of {len(findings)} rules broken" if broken else f"keeps all {len(findings)} rules"
    say.print(f"{name} {told}.", markup=False)


def print_costs(name: str, costs: Sequence[dict[str, Any]]) -> None:
    """CPU time of each hook beside that of a call without a plugin and beside the budget."""
    rows = []
    for cost in costs:
        share = f"{cost['batch_us'] / cost['budget_us']:.2%}"
        rows.append(
            (
                cost["hook"],
                f"{cost['alone_us']:.1f} µs",
                f"{cost['batch_us']:.1f} µs",
                f"{cost['none_us']:.1f} µs",
                share,
            )
        )
    print_table(("HOOK", ">ALONE", ">IN BATCHES", ">NO PLUGIN", ">OF DEADLINE"), rows)
    console().print(
        f"{name}: CPU time of a call in the worker, median; the deadline is {costs[0]['budget_us'] / 1000:.0f} ms.",
        markup=False,
    )
