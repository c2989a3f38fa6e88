"""Every file in cases/ holds one mistake that a user makes; the .txt beside it is what lint says.

PLAIT_UPDATE=1 writes the .txt anew.
"""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait_controlplane.lint import lint_directory
from plait_controlplane.resources.reader import read

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def told(case: Path, directory: Path) -> str:
    (directory / case.name).write_text(case.read_text())
    report = lint_directory(directory)
    lines = []
    for problem in report.problems:
        place = f"{Path(problem.file).name}:{problem.line}:{problem.column}"
        lines.append(f"{problem.severity} {place} {problem.object} {problem.path}".rstrip())
        lines.append(f"    {problem.message}")
    text = "\n".join([*lines, f"{report.files} files, {report.objects} objects", ""])
    return text.replace(f"{directory}/", "")


def test_there_are_enough_cases_to_mean_something() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_mistake_is_told_with_its_place(case: Path, tmp_path: Path) -> None:
    golden = case.with_suffix(".txt")
    said = told(case, tmp_path)
    if os.environ.get("PLAIT_UPDATE"):
        golden.write_text(said)
    assert said == golden.read_text()
    assert "error " in said, "a case without a mistake shows nothing"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_a_damaged_file_is_told_and_never_a_crash(case: Path, data: st.DataObject) -> None:
    text = case.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.text(max_size=4)) + text[end:]
    found, problems = read("damaged.yaml", damaged)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)
    assert all(stored.file == "damaged.yaml" for stored in found)
