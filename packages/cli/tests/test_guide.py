"""The guide for authors of plugins is true: its files are written, its commands run, in order, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from plait_sdk.config import read_config

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "guide" / "plugins.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENOUGH = 600
"""Seconds: a build on a loaded machine."""


class Reader:
    """Somebody who does what the guide says. `place` is the folder that they are in."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def follow(self, language: str, text: str) -> None:
        if language == "console":
            for command, expected in commands(text):
                self.run(command, expected)
        elif language == "python":
            self.write(text)
        elif language == "markdown":
            self.add_row(text)
        elif language == "text":
            pass  # what `run` says: test_plugin_run.py holds it against the command
        elif language == "yaml":
            self.attach(text)
        else:
            raise AssertionError(f"a block of {language} that nobody checks")

    def write(self, text: str) -> None:
        path = self.place / text.partition("\n")[0].removeprefix("# ")
        path.write_text(text.partition("\n")[2])

    def add_row(self, text: str) -> None:
        """Puts the row below the last of the table in the file that is named."""
        name, row = re.fullmatch(r"<!-- (\S+) -->\n(\|.*\n)", text).groups()  # type: ignore[union-attr]
        lines = (self.place / name).read_text().splitlines(keepends=True)
        after = max(number for number, line in enumerate(lines) if line.startswith("|")) + 1
        (self.place / name).write_text("".join([*lines[:after], row, *lines[after:]]))

    def run(self, command: str, expected: list[str]) -> None:
        words = shlex.split(command)
        if words[0] == "cd":
            self.place = self.place / words[1]
            return
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "plait_cli.main", *words[1:]],
            cwd=self.place, env=environment, capture_output=True, text=True, check=False, timeout=ENOUGH,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        for line in expected:
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            found = re.search(rf"^{pattern}" + ("" if line.endswith("…") else r"\s*$"), done.stdout, re.MULTILINE)
            assert found, f"{command} does not print {line!r}, but\n{done.stdout}"

    def attach(self, text: str) -> None:
        """The object names the package that was written, and its configuration fits it."""
        written = yaml.safe_load(text)
        names: dict[str, object] = {"__name__": "guide"}
        source = (self.place / "src" / "plait_tenant_from_path" / "plugin.py").read_text()
        exec(compile(source, "plugin.py", "exec"), names)
        read_config("guide", names["Config"], written["spec"]["config"])  # type: ignore[type-var]
        assert f'name = "{written["spec"]["package"]}"' in (self.place / "pyproject.toml").read_text()


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console with the lines that it prints."""
    for part in text.split("$ ")[1:]:
        command, *printed = part.splitlines()
        yield command, printed


def test_the_guide_can_be_followed_to_its_end(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    blocks = BLOCK.findall(GUIDE.read_text())
    assert {language for language, _ in blocks} == {"console", "python", "markdown", "text", "yaml"}
    for language, text in blocks:
        reader.follow(language, text)
