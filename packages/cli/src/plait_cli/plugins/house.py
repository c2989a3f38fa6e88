"""Owns what plugins of the control plane give to the command: verbs of their own, and checks.

Called by `main` for a verb that is none of ours, and by `check`. A plugin that fails takes no verb of ours away.
"""

import asyncio
import inspect
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from plait_cli.errors import USAGE, Failure

if TYPE_CHECKING:
    from plait_controlplane.hooks.asking import Checked
    from plait_controlplane.hooks.runner import Runner
    from plait_sdk.control import Command

FILE = "PLAIT_HOOKS"
"""The variable that names the file of plugins."""

_VERB = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Verbs(TyperGroup):
    """The verbs of the command, and behind them those of plugins. Plugins are loaded for no verb of ours."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All, for the help."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in verbs() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Ours before theirs."""
        return super().get_command(ctx, cmd_name) or verbs().get(cmd_name)


def verbs() -> dict[str, Any]:
    """The verbs of the plugins that PLAIT_HOOKS names; none without it."""
    file = os.environ.get(FILE)
    if not file:
        return {}
    from plait_controlplane.hooks import asking  # late: no verb of ours needs it

    async def ask() -> list["Command"]:
        return await asking.commands(await _runner(Path(file)), lambda text: print(f"! {text}", file=sys.stderr))

    return {one.name: _verb(one) for one in asyncio.run(ask()) if _VERB.fullmatch(one.name)}


def checked(file: Path) -> list["Checked"]:
    """What the plugins of a file found out about what they need."""
    from plait_controlplane.hooks import asking

    async def ask() -> list["Checked"]:
        return await asking.checks(await _runner(file))

    return asyncio.run(ask())


async def _runner(file: Path) -> "Runner":
    from plait_controlplane.hooks.enabled import BadFile, read_enabled
    from plait_controlplane.hooks.runner import Runner

    try:
        found = Runner(read_enabled(file))
    except BadFile as error:
        raise Failure(str(error), "docs/guide/control-plane-plugins.md shows a file", USAGE) from error
    await found.start()
    return found


def _verb(command: "Command") -> Any:
    app = typer.Typer(add_completion=False)

    @app.command(
        command.name, help=command.help, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )
    def run(context: typer.Context) -> None:
        answer = command.run(list(context.args))
        raise typer.Exit(int(asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer))

    return get_command(app)


async def _awaited(answer: Any) -> Any:
    return await answer
