"""What a run must reach and what it aims at: ratios in one run, or memory as it is. Called by bench.py.

A missed goal is told, never an error: a benchmark is no gate.
"""

import statistics
from dataclasses import dataclass

from groups import Outcome
from report import ratio


@dataclass(frozen=True)
class Goal:
    """`against`: the contender whose figure is 1; empty where the figure stands for itself, in `unit`."""

    group: str
    column: str
    name: str
    against: str
    must: float | None
    aim: float
    unit: str = "x"


GRPC = "8 connections of 16 streams"
GOALS = [
    Goal("hop", "32 connections", "plait", "envoy", 0.50, 0.40),
    Goal("hop", "256 connections", "plait", "envoy", 0.40, 0.30),
    Goal("hop", "32 connections", "plait", "nginx", None, 0.90),
    Goal("hop", "256 connections", "plait", "nginx", None, 0.90),
    Goal("hop", "32 connections, 1 MB", "plait", "envoy", 0.75, 0.60),
    Goal("pair", "32 connections", "plait pair", "envoy pair", 0.45, 0.35),
    Goal("pair", "256 connections", "plait pair", "envoy pair", 0.35, 0.25),
    Goal("pair", "32 connections", "plait pair", "nginx pair", None, 0.60),
    Goal("pair", "256 connections", "plait pair", "nginx pair", None, 0.60),
    Goal("pair", "32 connections, 1 MB", "plait pair", "envoy pair", 0.75, 0.55),
    Goal("routes", "32 connections", "plait 10000 routes", "plait 10 routes", 1.3, 1.1),
    Goal("grpc", GRPC, "plait", "envoy", 0.40, 0.30),
    Goal("grpc", GRPC, "plait", "haproxy", None, 1.0),
    Goal("grpc", GRPC, "plait pair", "envoy pair", 0.30, 0.20),
    Goal("handshake", "X25519", "plait", "envoy", 1.0, 0.8),
    Goal("latency", "p99", "plait pair", "envoy pair", 0.7, 0.5),
    Goal("memory", "idle MB", "plait", "", 15, 10, " MB"),
    Goal("memory", "idle MB", "plait 1000 services", "", 40, 20, " MB"),
    Goal("memory", "KB an idle connection", "plait", "", 8, 4, " KB"),
    Goal("plugins", "1 connection", "plait sync", "envoy ext_authz", 1.0, 0.5),
    Goal("plugins", "32 connections", "plait sync", "envoy ext_authz", 1.0, 0.5),
    Goal("plugins", "256 connections", "plait sync", "envoy ext_authz", 1.0, 0.5),
    Goal("plugins", "32 connections", "plait sync", "envoy lua", 1.0, 0.5),
    Goal("plugins", "32 connections", "plait sync", "", None, 3.0, " µs"),
    Goal("plugins", "32 connections", "plait plugin elsewhere", "", 1.0, 0.5, " µs"),
]


@dataclass(frozen=True)
class Verdict:
    """`measured`: None where a figure is void or a peer is absent."""

    goal: Goal
    measured: float | None

    @property
    def line(self) -> str:
        goal = self.goal
        what = f"{goal.group}, {goal.column}: {goal.name}" + (f" to {goal.against}" if goal.against else "")
        if self.measured is None:
            return f"- {what}: not measured"
        value, unit = self.measured, goal.unit
        said = [
            f"{word} <= {bound:g}{unit}: {value:.2f}{unit} {'ok' if value <= bound else 'missed'}"
            for word, bound in (("must", goal.must), ("aim", goal.aim))
            if bound is not None
        ]
        return f"- {what}: " + ", ".join(said)


def judge(outcomes: dict[str, Outcome]) -> list[Verdict]:
    """Of the groups that ran."""
    return [Verdict(goal, measured(outcomes[goal.group], goal)) for goal in GOALS if goal.group in outcomes]


def measured(outcome: Outcome, goal: Goal) -> float | None:
    row = outcome.rows.get(goal.name, {}).get(goal.column)
    if goal.against:
        return ratio(row, outcome.rows.get(goal.against, {}).get(goal.column))
    return None if row is None or row.void else statistics.median(row.figures)
