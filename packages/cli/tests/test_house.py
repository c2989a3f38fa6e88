"""Verbs and checks of the control plane's plugins, by the command as it is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAIT = Path(sys.executable).with_name("plait")

SOURCE = '''
import plait_sdk as plait


class House(plait.Plugin[plait.PluginConfig]):
    """Greets, and checks."""

    @plait.hookimpl
    def commands(self):
        async def late(words):
            return 4

        def hello(words):
            print("hello", *words)
            return 3

        return [plait.Command("hello", "Says hello.", hello), plait.Command("late", "Waits.", late),
                plait.Command("version", "Is ours.", late)]

    @plait.hookimpl
    def checks(self):
        return [plait.Check("the sun", ok=True, message="shines"), plait.Check("the moon", ok=False, hint="wait")]


class Falls(plait.Plugin[plait.PluginConfig]):
    """Fails at both."""

    @plait.hookimpl
    def commands(self):
        return "hello"

    @plait.hookimpl
    def checks(self):
        raise RuntimeError("no way")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    info = tmp_path / "house-1.0.dist-info"
    info.mkdir()
    (tmp_path / "house.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[plait.plugins]\nhouse = house:House\nfalls = house:Falls\n")
    plugins = [{"package": "house", "plugin": "falls"}, {"package": "house", "plugin": "house"}]
    (tmp_path / "hooks.yaml").write_text(json.dumps({"plugins": plugins}))
    return tmp_path


def plait(folder: Path, *words: str, hooks: str = "hooks.yaml") -> subprocess.CompletedProcess[str]:
    named = {"PLAIT_HOOKS": str(folder / hooks)} if hooks else {}
    environment = {**os.environ, **named, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        [str(PLAIT), *words], capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def test_a_plugin_gives_verbs(folder: Path) -> None:
    done = plait(folder, "hello", "you", "--and=me")
    assert (done.returncode, done.stdout) == (3, "hello you --and=me\n")
    assert "plugin falls gives no verbs: answered 'hello'" in done.stderr
    assert plait(folder, "late").returncode == 4
    assert "Says hello." in plait(folder, "--help").stdout


def test_a_verb_of_ours_is_ours_and_loads_no_plugin(folder: Path) -> None:
    (folder / "house.py").write_text("raise SystemExit(9)")
    done = plait(folder, "version", "--help")
    assert (done.returncode, "Is ours." in done.stdout) == (0, False)


def test_without_the_file_there_are_none(folder: Path) -> None:
    assert plait(folder, "hello", hooks="").returncode == 2
    assert plait(folder, "hello", hooks="none.yaml").returncode == 2
    assert plait(folder, "lint", "--help", hooks="none.yaml").returncode == 0


def test_checks_say_what_is_there_and_what_to_do(folder: Path) -> None:
    done = plait(folder, "check", "--hooks", str(folder / "hooks.yaml"), hooks="")
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == ["falls", "✗ it answers RuntimeError: no way", "house", "✓ the sun shines", "✗ the moon", "wait"]
    told = json.loads(plait(folder, "check", "--hooks", str(folder / "hooks.yaml"), "-o", "json", hooks="").stdout)
    assert [one["state"] for one in told["checks"]] == ["failed", "passed", "failed"]
