"""What becomes of objects when plugins judge them, and when plugins do not: each way to fail, on real threads."""

import copy
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import house_plugins
import pytest
from plait_controlplane.hooks.answers import Away, Judged
from plait_controlplane.hooks.enabled import Enabled
from plait_controlplane.hooks.judgement import Judgement, Reviewed
from plait_controlplane.hooks.runner import Runner
from plait_controlplane.lint import lint_directory
from plait_controlplane.resources.world import World
from plait_controlplane.sources.directory import load
from plait_controlplane.sources.lastgood import Settled, settle
from plait_sdk.control import Resource

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: good, namespace: shop, labels: {owner: shop}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: shop}
spec: {ports: [{port: 80}]}
"""
GOOD, BAD = ("Service", "shop", "good"), ("Service", "shop", "bad")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(house_plugins.install(tmp_path / "packages")))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "services.yaml").write_text(SERVICES)
    return tmp_path / "shop"


def enabled(*names: str, **more: Any) -> list[Enabled]:
    return [Enabled.model_validate({"package": "house-rules", "plugin": name, **more}) for name in names]


async def started(*names: str, seconds: float = 30.0, **more: Any) -> Runner:
    plugins = enabled(*names, **more)
    runner = Runner([one.model_copy(update={"deadline": timedelta(seconds=seconds)}) for one in plugins])
    await runner.start()
    return runner


def world(folder: Path) -> World:
    found, problems = load(folder)
    assert problems == []
    return found


def told(reviewed: Reviewed) -> dict[str, str]:
    return {one.object: f"{one.severity} {one.line} {one.path}: {one.message}" for one in reviewed.problems}


async def test_what_a_plugin_refuses_is_told_with_its_place_and_is_out(folder: Path) -> None:
    reviewed = await Judgement(await started("owner")).over(world(folder))
    assert list(reviewed.world.objects) == [GOOD]
    assert told(reviewed) == {
        "Service shop/bad": "error 9 metadata.labels: RefusedByPlugin owner: every Service has an owner"
    }
    assert (reviewed.unjudged, reviewed.judged) == (0, 2)


async def test_a_note_refuses_nothing(folder: Path) -> None:
    file = folder / "services.yaml"
    file.write_text(
        SERVICES.replace("owner: shop", "owner: me").replace("name: bad", "name: fine, labels: {owner: shop}")
    )
    reviewed = await Judgement(await started("owner")).over(world(folder))
    assert len(reviewed.world.objects) == 2
    assert told(reviewed) == {"Service shop/good": "note 4 metadata.labels.owner: plugin owner: write a team"}


async def test_what_one_fills_in_the_next_judges(folder: Path) -> None:
    reviewed = await Judgement(await started("defaults", "owner")).over(world(folder))
    assert reviewed.problems == []
    made = reviewed.world.objects[BAD]
    assert made.resource.metadata.labels == {"owner": "shop"}
    assert made.document.place(("metadata", "labels", "owner")).value[0] == 9


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        ("spoils", "what plugins made of it is no Service"),
        ("renames", "PluginFailed renames: mutate: made another object of it"),
        ("raises", "PluginFailed raises: validate: ZeroDivisionError: no"),
        ("junk", "PluginFailed junk: validate: answered 'fine'"),
        ("exits", r"PluginFailed exits: validate: Ended: SystemExit\(3\)"),
        ("wrong", 'PluginFailed wrong: load: stage hooks: .*house_rules.py:.*there is no argument "world"'),
        ("requests", "it has no hook of the control plane"),
        ("missing", "PluginFailed missing: load: stage import: .*has no plugin"),
    ],
)
async def test_an_object_that_could_not_be_judged_keeps_its_last_good_version(
    folder: Path, plugin: str, why: str
) -> None:
    before = settle(Settled(), world(folder), [], [])
    reviewed = await Judgement(await started(plugin)).over(world(folder))
    messages = [one.message for one in reviewed.problems if one.object == "Service shop/bad"]
    assert any(re.search(why, one) for one in messages), messages
    settled = settle(before, reviewed.world, reviewed.problems, reviewed.broken)
    assert {one.name: one.state for one in settled.verdicts}["bad"] == "Stale"
    assert settled.world.objects[BAD] == before.world.objects[BAD]


async def test_where_there_is_none_it_is_not_in_force(folder: Path) -> None:
    reviewed = await Judgement(await started("raises")).over(world(folder))
    settled = settle(Settled(), reviewed.world, reviewed.problems, reviewed.broken)
    assert {one.name: one.state for one in settled.verdicts} == {"good": "Accepted", "bad": "Refused"}
    assert list(settled.world.objects) == [GOOD]


async def test_open_lets_pass_what_could_not_be_judged_and_says_so(folder: Path) -> None:
    reviewed = await Judgement(await started("raises", onError="Open")).over(world(folder))
    assert len(reviewed.world.objects) == 2
    assert "it passes all the same" in told(reviewed)["Service shop/bad"]
    assert reviewed.unjudged == 0


@pytest.mark.parametrize("plugin", ["loops", "waits"])
async def test_a_hook_that_never_ends_is_cut_off_and_its_thread_goes_on(folder: Path, plugin: str) -> None:
    runner = await started(plugin, seconds=0.05)
    reviewed = await Judgement(runner).over(world(folder))
    assert reviewed.unjudged == 2
    assert "not done after 0.05 s" in " ".join(told(reviewed).values())
    # One that used up its time is not asked about the other objects of a round.
    assert runner.parts[0].state.calls == 1
    assert runner.stuck() == []


async def test_a_hook_that_cannot_be_cut_off_makes_its_process_useless(folder: Path) -> None:
    (folder / "hang").touch()
    runner = await started("hangs", seconds=0.05, config={"path": str(folder / "hang")})
    await Judgement(runner).over(world(folder))
    assert runner.stuck() == ["hangs"]


class Noting:
    """Asks nobody; notes what it is asked, and answers as told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_away = False

    async def judge(self, resources: Sequence[Resource]) -> list[Judged]:
        if self.is_away:
            raise Away("nobody is there")
        self.asked += [one.name for one in resources]
        return [Judged() for _ in resources]


async def test_each_version_of_an_object_is_asked_about_once(folder: Path) -> None:
    noting = Noting()
    judgement = Judgement(noting)
    first = world(folder)
    await judgement.over(first)
    again = world(folder)
    kept = await judgement.over(again)
    assert noting.asked == ["bad", "good"]
    assert kept.world.objects[GOOD] is again.objects[GOOD]
    (folder / "services.yaml").write_text(SERVICES.replace("port: 80", "port: 81", 1))
    await judgement.over(world(folder))
    assert noting.asked == ["bad", "good", "good"]
    judgement.forget()
    await judgement.over(world(folder))
    assert len(noting.asked) == 5


async def test_nothing_is_remembered_of_a_time_when_nobody_answered(folder: Path) -> None:
    noting = Noting()
    judgement, noting.is_away = Judgement(noting), True
    away = await judgement.over(world(folder))
    assert (away.unjudged, away.judged, len(away.world.objects)) == (2, 0, 0)
    assert "PluginFailed: nobody is there" in told(away)["Service shop/bad"]
    noting.is_away = False
    assert len((await judgement.over(world(folder))).world.objects) == 2


async def test_a_plugin_sees_a_copy(folder: Path) -> None:
    found = world(folder)
    before = copy.deepcopy({key: one.document.data for key, one in found.objects.items()})
    await Judgement(await started("defaults", "owner")).over(found)
    assert {key: one.document.data for key, one in found.objects.items()} == before


def test_lint_tells_what_plugins_say_beside_its_own(folder: Path, tmp_path: Path) -> None:
    hooks = house_plugins.hooks_file(tmp_path / "hooks.yaml", "owner")
    report = lint_directory(folder, hooks)
    assert [(one.object, one.path) for one in report.errors] == [("Service shop/bad", "metadata.labels")]
    assert report.objects == 2
    assert lint_directory(folder).errors == []
