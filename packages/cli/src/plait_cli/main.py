"""Owns the command line: which verbs there are, and how an error becomes a message and an exit code (`main`)."""

import sys
from typing import Annotated

import typer

from plait_cli import __version__
from plait_cli.errors import Failure
from plait_cli.plugins.house import Verbs
from plait_cli.verbs import (
    check,
    demo,
    down,
    edges,
    explain,
    install,
    join_token,
    lint,
    plugin,
    stat,
    status,
    tap,
    uninstall,
    up,
    version,
)

VERBS = (
    ("up", up.up, "plait up demo/"),
    ("down", down.down, "plait down --mesh bookshop"),
    ("lint", lint.lint, "plait lint demo/"),
    ("status", status.status, "plait status --wait"),
    ("stat", stat.stat, "plait stat --window 5 --by route"),
    ("edges", edges.edges, "plait edges -o json"),
    ("tap", tap.tap, "plait tap --to reviews --status 5xx"),
    ("explain", explain.explain, "plait explain GET http://reviews/reviews/7 --from web -H 'x-tester: yes'"),
    ("install", install.install, "plait install --registry registry.example.com"),
    ("upgrade", install.upgrade, "plait upgrade"),
    ("uninstall", uninstall.uninstall, "plait uninstall"),
    ("check", check.check, "plait check --pre"),
    ("demo", demo.demo, "plait demo --check"),
    ("version", version.version, "plait version"),
)

app = typer.Typer(
    name="plait",
    cls=Verbs,
    help="Plait, the service mesh that you extend in Python: start one on this machine, and ask it questions.",
    epilog="Example: plait up demo/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Prints the version of the command, which is that of its distribution."""
    if wanted:
        print(f"plait {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the command's version.")
    ] = False,
) -> None:
    """Takes what comes before a verb."""


for _name, _verb, _example in VERBS:
    app.command(_name, epilog=f"Example: {_example}")(_verb)
app.add_typer(join_token.app, name="join-token")
app.add_typer(plugin.app, name="plugin")


def main() -> None:
    """The entry point `plait`. Wrong usage is told by typer, with exit code 2."""
    try:
        app()
    except Failure as failure:
        print(f"✗ {failure.message}", file=sys.stderr)
        if failure.hint:
            print(f"  {failure.hint}", file=sys.stderr)
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
