"""What a run prints and judges, from figures that nobody measured."""

import subprocess
import sys

import filters
import goals
import measure
import pytest
import report
from contenders import Contender
from goals import Goal, Verdict
from groups import GROUPS, Outcome
from rounds import Row, turns

ROWS = {
    "plait": {"32 connections": Row([10.0, 14.0, 12.0]), "256 connections": Row([20.0], void="3 not 2xx, 0 broken")},
    "nginx": {"32 connections": Row([15.0]), "256 connections": Row([20.0])},
    "envoy": {"32 connections": Row([20.0, 24.0, 30.0]), "256 connections": Row([40.0])},
}


def test_a_table_has_medians_spread_and_ratios_and_tells_what_is_void() -> None:
    assert report.table(Outcome("Something", ROWS)).splitlines() == [
        "Something, median (least to most), ratio to Envoy:",
        "",
        "| proxy | 32 connections | 256 connections |",
        "|---|---|---|",
        "| plait | 12.0 (10.0 to 14.0), 0.50x | void: 3 not 2xx, 0 broken |",
        "| nginx | 15.0, 0.62x | 20.0, 0.50x |",
        "| envoy | 24.0 (20.0 to 30.0) | 40.0 |",
    ]


def test_what_a_contender_was_not_asked_has_a_dash_and_another_base_than_envoy_can_be_named() -> None:
    rows = {**ROWS, "plait sync": {"32 connections": Row([6.0])}, "envoy lua": {"32 connections": Row([12.0])}}
    table = report.table(Outcome("Something", rows, against={"plait sync": "envoy lua", "envoy lua": "envoy lua"}))
    assert table.splitlines()[-2:] == ["| plait sync | 6.0, 0.50x | – |", "| envoy lua | 12.0 | – |"]


def test_a_filter_has_what_it_adds_to_the_proxy_of_its_maker() -> None:
    rows = filters.added({**ROWS, "plait sync": {"32 connections": Row([13.0, 11.0]), "256 connections": Row([21.0])}})
    assert rows["plait"] == ROWS["plait"]
    assert rows["plait sync"]["32 connections"].figures == [1.0, -1.0]
    assert rows["plait sync"]["256 connections"].void == "without a filter: 3 not 2xx, 0 broken"


def test_processes_count_with_those_that_they_started() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        found = measure.families([parent.pid])
        parent.communicate(b"\n")
    assert found[0] == parent.pid
    assert len(found) == 2


def test_system_calls_stand_in_a_table_of_their_own() -> None:
    table = report.table(Outcome("Something", ROWS, {"plait": {"recvfrom": 2.0, "sendto": 2.0, "brk": 0.001}}))
    assert table.splitlines()[-1] == "| plait | 4.00 | recvfrom 2.00, sendto 2.00 |"


@pytest.mark.parametrize(
    ("goal", "line"),
    [
        (
            Goal("hop", "32 connections", "plait", "envoy", 0.5, 0.4),
            "- hop, 32 connections: plait to envoy: must <= 0.5x: 0.50x ok, aim <= 0.4x: 0.50x missed",
        ),
        (
            Goal("hop", "32 connections", "plait", "nginx", None, 0.9),
            "- hop, 32 connections: plait to nginx: aim <= 0.9x: 0.80x ok",
        ),
        (
            Goal("hop", "32 connections", "plait", "", 11, 10, " MB"),
            "- hop, 32 connections: plait: must <= 11 MB: 12.00 MB missed, aim <= 10 MB: 12.00 MB missed",
        ),
        # A void figure, an absent peer, a case that was not run.
        (
            Goal("hop", "256 connections", "plait", "envoy", 0.4, 0.3),
            "- hop, 256 connections: plait to envoy: not measured",
        ),
        (
            Goal("hop", "32 connections", "plait", "haproxy", 1, 1),
            "- hop, 32 connections: plait to haproxy: not measured",
        ),
        (Goal("hop", "1 connection", "plait", "", 1, 1), "- hop, 1 connection: plait: not measured"),
    ],
)
def test_a_verdict_says_what_was_reached(goal: Goal, line: str) -> None:
    assert Verdict(goal, goals.measured(Outcome("Something", ROWS), goal)).line == line


@pytest.mark.parametrize(("mine", "theirs"), [(-1.0, 2.0), (1.0, -2.0), (-1.0, -2.0), (1.0, 0.0)])
def test_what_is_lost_in_the_noise_has_no_ratio(mine: float, theirs: float) -> None:
    assert report.ratio(Row([mine]), Row([theirs])) is None


def test_goals_are_judged_for_the_groups_that_ran_and_name_groups_that_exist() -> None:
    assert {goal.group for goal in goals.GOALS} <= set(GROUPS)
    judged = goals.judge({"hop": Outcome("Something", ROWS)})
    assert judged
    assert {verdict.goal.group for verdict in judged} == {"hop"}


def test_contenders_take_turns_forth_and_back() -> None:
    contenders = [Contender(name, 0, []) for name in ("a", "b")]
    assert "".join(one.name for one in turns(contenders, 3)) == "abbaab"
