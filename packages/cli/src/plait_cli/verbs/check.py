"""`plait check`: whether a cluster can have the mesh, and whether the mesh on it is whole."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from plait_cli.errors import NOT_SO
from plait_cli.install import checks
from plait_cli.install.cluster import ContextOption, KubeconfigOption, connected
from plait_cli.output import Format, OutputOption, print_json
from plait_cli.plugins.house import checked

PreOption = Annotated[
    bool, typer.Option("--pre", help="Before an installation: whether the cluster can have the mesh.")
]


def check(
    pre: PreOption = False,
    hooks: Annotated[
        Path | None,
        typer.Option("--hooks", metavar="FILE", help="Ask the plugins of this file, and no cluster."),
    ] = None,
    output: OutputOption = Format.table,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Checks a cluster and says what to do about what is wrong. Exit code 1 when something failed."""
    lines = _of_plugins(hooks) if hooks is not None else asyncio.run(_lines(pre, (kubeconfig, context)))
    if output is Format.json:
        print_json({"checks": [line.facts() for line in lines]})
    else:
        category = ""
        for line in lines:
            if line.category != category:
                print(line.category)
            category = line.category
            print(f"  {line.text()}")
    if any(line.state == "failed" for line in lines):
        raise typer.Exit(NOT_SO)


def _of_plugins(file: Path) -> list[checks.Line]:
    return [
        checks.Line(
            one.plugin, one.check.name, "passed" if one.check.ok else "failed", one.check.message, one.check.hint
        )
        for one in checked(file)
    ]


async def _lines(pre: bool, where: tuple[Path | None, str | None]) -> list[checks.Line]:
    async with connected(*where) as api:
        return await (checks.before(api) if pre else checks.after(api))
