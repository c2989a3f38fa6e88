"""The command as a whole: help, examples, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plait_cli.main import VERBS

LINE_WIDTH = 100
PLUGIN = [
    ("plugin",),
    *(("plugin", verb) for verb in ("new", "test", "check", "bench", "build", "publish", "list", "run")),
]


def plait(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plait_cli.main", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )


@pytest.mark.parametrize(
    "words", [(name,) for name, _, _ in VERBS] + [(), ("join-token",), ("join-token", "create"), *PLUGIN]
)
def test_every_help_has_an_example(words: tuple[str, ...]) -> None:
    done = plait(*words, "--help")
    assert done.returncode == 0
    assert "Example: plait" in done.stdout
    assert "\x1b[" not in done.stdout
    assert all(len(line) <= LINE_WIDTH for line in done.stdout.splitlines())


def test_the_version_is_told() -> None:
    done = plait("--version")
    assert (done.returncode, done.stdout) == (0, "plait 0.1.0\n")


@pytest.mark.parametrize("words", ["st", "e"])
def test_a_shell_completes_verbs(words: str) -> None:
    asked = {"_PLAIT_COMPLETE": "complete_bash", "COMP_WORDS": f"plait {words}", "COMP_CWORD": "1"}
    done = subprocess.run(  # by its name: the variable that asks for completion is made of it
        [Path(sys.executable).with_name("plait")], capture_output=True, text=True, check=False, env=os.environ | asked
    )
    assert {"st": ["status", "stat"], "e": ["edges", "explain"]}[words] == done.stdout.split()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status",), 3, "no mesh is up"),
        (("stat", "--mesh", "nobody"), 3, "mesh nobody is not up"),
        (("tap", "--status", "5x"), 2, "is no status"),
        (("up", "/nonexistent"), 2, "is not a folder"),
        (("nonsense",), 2, "No such command"),
        (("explain", "GET", "http://a/", "--from", "b", "-H", "nocolon"), 2, "has no colon"),
    ],
)
def test_exit_codes(words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    done = plait(*words, environment={"XDG_STATE_HOME": str(tmp_path), "COLUMNS": "100"})
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
