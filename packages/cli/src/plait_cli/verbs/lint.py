"""`plait lint`: every problem of a folder of YAML at once, offline, by the control plane's own reader; or of a cluster.

What is on a cluster has been read by the control plane there with the same reader; it is asked what it found.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.asked import ClusterOption, ContextOption, KubeconfigOption, reached
from plait_cli.errors import DONE, NOT_SO, USAGE, Failure
from plait_cli.meshes import HooksOption
from plait_cli.output import Format, OutputOption, console, count, print_json

PLACE_COLUMN = 26


def lint(
    directory: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Folder that holds the YAML.")] = None,
    hooks: HooksOption = None,
    output: OutputOption = Format.table,
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Checks all files without a mesh; prints each problem with file, line, column, field and what to write instead.

    With --cluster and no folder, the same about every object of the mesh on a cluster.
    """
    if directory is not None:
        report = read(directory, hooks)
    elif cluster or kubeconfig or context:
        with reached(None, None, cluster, kubeconfig, context) as target:
            report = found_on_cluster(target.api.objects())
    else:
        raise Failure("no folder is given", "plait lint DIR; --cluster checks what is on a cluster", USAGE)
    if output is Format.json:
        print_json(report)
    else:
        for text in lines(report):
            console().print(text, markup=False)
    raise typer.Exit(NOT_SO if any(map(is_error, report["problems"])) else DONE)


def read(directory: Path, hooks: Path | None = None) -> dict[str, Any]:
    """The report of the control plane's linter as plain facts."""
    from plait_controlplane.hooks.enabled import BadFile
    from plait_controlplane.lint import lint_directory  # late: a second of imports that other verbs do without

    if not directory.is_dir():
        raise Failure(f"{directory} is not a folder", "give the folder that holds your YAML", USAGE)
    try:
        report = lint_directory(directory, hooks)
    except BadFile as error:
        raise Failure(str(error), "docs/guide/control-plane-plugins.md shows a file", USAGE) from error
    problems = [asdict(problem) for problem in report.problems]
    return {"files": report.files, "objects": report.objects, "problems": problems}


def found_on_cluster(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of the control plane about the objects of its cluster."""
    problems = [
        {
            **problem,
            "file": "",
            "object": f"{entry['kind']} " + "/".join(filter(None, (entry["namespace"], entry["name"]))),
        }
        for entry in objects
        for problem in entry["problems"]
    ]
    return {"files": 0, "objects": len(objects), "problems": problems}


def is_error(problem: dict[str, Any]) -> bool:
    """Whether a problem keeps an object from doing what it says; the rest are notes."""
    return bool(problem["severity"] == "error")


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    told = []
    for problem in report["problems"]:
        mark = "✗" if is_error(problem) else "·"
        place = f"{problem['file']}:{problem['line']}:{problem['column']}"
        where = f"{place:{PLACE_COLUMN}}  " if problem["file"] else ""
        told.append(f"{mark} {where}{problem['object']}   {problem['path']}".rstrip())
        told.append(f"    {problem['message']}")
    errors = sum(map(is_error, report["problems"]))
    notes = len(report["problems"]) - errors
    found = count(errors, "problem") + (f" and {count(notes, 'note')}" if notes else "")
    if not report["files"] and report["objects"]:
        return [*told, f"{found} in {count(report['objects'], 'object')} of the cluster."]
    applied = " Nothing was applied." if errors else ""
    told.append(f"{found} in {count(report['files'], 'file')}, {count(report['objects'], 'object')}.{applied}")
    return told
