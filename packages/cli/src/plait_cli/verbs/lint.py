"""`plait lint DIR`: every problem of a folder of YAML at once, offline, by the control plane's own reader."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.errors import DONE, NOT_SO, USAGE, Failure
from plait_cli.output import Format, OutputOption, console, count, print_json

NAME_COLUMN = 26
OBJECT_COLUMN = 50


def lint(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that holds the YAML.")],
    output: OutputOption = Format.table,
) -> None:
    """Checks all files without a mesh; prints each problem with file, line, column, field and what to write instead."""
    if not directory.is_dir():
        raise Failure(f"{directory} is not a folder", "give the folder that holds your YAML", USAGE)
    report = read(directory)
    if output is Format.json:
        print_json(report)
    else:
        print_report(report)
    raise typer.Exit(NOT_SO if any(map(is_error, report["problems"])) else DONE)


def read(directory: Path) -> dict[str, Any]:
    """The report of the control plane's linter as plain facts."""
    from plait_controlplane.translate.lint import (
        lint_directory,
    )  # late: a second of imports that other verbs do without

    report = lint_directory(directory)
    problems = [
        {
            "file": str(problem.file),
            "line": problem.line,
            "column": problem.column,
            "object": problem.object,
            "path": problem.path,
            "message": problem.message,
            "hint": problem.hint,
            "severity": str(problem.severity),
        }
        for problem in report.problems
    ]
    return {"files": report.files, "objects": report.objects, "problems": problems}


def is_error(problem: dict[str, Any]) -> bool:
    """Whether a problem keeps an object from being applied; the rest are notes and warnings."""
    return str(problem["severity"]).lower() == "error"


def print_report(report: dict[str, Any]) -> None:
    """The report for people."""
    out = console()
    for problem in report["problems"]:
        mark = "✗" if is_error(problem) else "!"
        place = f"{problem['file']}:{problem['line']}:{problem['column']}"
        out.print(f"{mark} {place:{NAME_COLUMN}} {problem['object']}   {problem['path']}".rstrip(), markup=False)
        out.print(f"    {problem['message']}" + (f"; {problem['hint']}" if problem["hint"] else ""), markup=False)
    errors = sum(map(is_error, report["problems"]))
    notes = len(report["problems"]) - errors
    found = count(errors, "problem") + (f" and {count(notes, 'note')}" if notes else "")
    applied = " Nothing was applied." if errors else ""
    out.print(
        f"{found} in {count(report['files'], 'file')}, {count(report['objects'], 'object')}.{applied}", markup=False
    )
