"""`plait plugin …`: the whole tool of an author of plugins, from an empty folder to a published wheel."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.errors import DONE, NOT_SO, Failure
from plait_cli.output import Format, OutputOption, print_json, print_table
from plait_cli.plugins import packages
from plait_cli.plugins.project import Project, find_project, lines_with
from plait_cli.plugins.report import print_costs, print_findings
from plait_cli.plugins.scaffold import Kind, scaffold

app = typer.Typer(
    no_args_is_help=True,
    help="Filters of your own, in Python: write, test, measure and publish them.",
    epilog="Example: plait plugin new tenant-from-path --kind filter",
)

FolderOption = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The plugin's folder.")]
PluginOption = Annotated[str | None, typer.Option("--plugin", help="Which, where a package has several.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML with spec.config; by default that of examples/plugin.yaml.")
]
HERE = Path()


@app.command("new", epilog="Example: plait plugin new tenant-from-path --kind filter")
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -.")],
    kind: Annotated[Kind, typer.Option("--kind", help="What it is for.")] = Kind.filter,
    parent: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where its folder is made.")] = HERE,
) -> None:
    """Makes a package: a typed class, tests, tox.ini, README, an example object."""
    folder = scaffold(name, kind, parent)
    print(f"✓ {folder}: a {kind} plugin with its tests")
    print(f"Next: cd {folder} && plait plugin test")


@app.command(
    "test",
    epilog="Example: plait plugin test -- -k tenant",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def run_tests(context: typer.Context, folder: FolderOption = HERE) -> None:
    """Runs the tests of the package with pytest; words after -- are pytest's."""
    project = find_project(folder)
    done = project.run(project.python("-m", "pytest", *context.args))
    if done.returncode not in (0, 1):
        raise Failure("pytest could not run", "is it installed? pip install 'plait-sdk[testing]'")
    raise typer.Exit(done.returncode)


@app.command("check", epilog="Example: plait plugin check -o json")
def check(
    folder: FolderOption = HERE,
    plugin: PluginOption = None,
    config: ConfigOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Holds the plugin against what every plugin must keep, in a process of its own."""
    project = find_project(folder)
    name, entry = project.one(plugin)
    findings = _facts(project, "conformance", "plait-findings: ", entry, config)
    if output is Format.json:
        print_json({"plugin": name, "findings": findings})
    else:
        print_findings(name, findings)
    raise typer.Exit(DONE if all(finding["ok"] for finding in findings) else NOT_SO)


@app.command("bench", epilog="Example: plait plugin bench")
def bench(
    folder: FolderOption = HERE,
    plugin: PluginOption = None,
    config: ConfigOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Tells what each hook costs a request, beside the budget and beside no plugin."""
    project = find_project(folder)
    name, entry = project.one(plugin)
    costs = _facts(project, "cost", "plait-costs: ", entry, config)
    if output is Format.json:
        print_json({"plugin": name, "hooks": costs})
    else:
        print_costs(name, costs)


@app.command("run", epilog="Example: plait plugin run --port 8080")
def run(
    folder: FolderOption = HERE,
    plugin: PluginOption = None,
    config: ConfigOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where requests come in; 0 is a free one.")] = 0,
) -> None:
    """Runs the plugin in a mesh on this machine, before an echo service; a saved file is live a moment later."""
    from plait_cli.plugins.running import run as run_mesh  # late: what a mesh needs, other verbs do without

    project = find_project(folder)
    name, _ = project.one(plugin)
    run_mesh(project, name, project.config(config), port, lambda line: print(line, flush=True))


@app.command("build", epilog="Example: plait plugin build --out dist")
def build(
    folder: FolderOption = HERE,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the wheel goes; dist by default.")
    ] = None,
    isolated: Annotated[bool, typer.Option(help="Build with what pyproject.toml asks for, fetched anew.")] = True,
    output: OutputOption = Format.table,
) -> None:
    """Builds the wheel and tells its digest."""
    project = find_project(folder)
    target = out or project.folder / "dist"
    wheel = packages.build(project, target, isolated=isolated)
    if output is Format.json:
        print_json({**asdict(wheel), "path": str(target / wheel.file)})
        return
    print(f"✓ {target / wheel.file}")
    print(f"  digest: {wheel.digest}")


@app.command(
    "publish", epilog="Example: plait plugin publish dist/plait_tenant-1.0.0-py3-none-any.whl --index /srv/plugins"
)
def publish(
    wheel: Annotated[Path, typer.Argument(metavar="WHEEL", help="What `plait plugin build` made.")],
    index: Annotated[Path, typer.Option("--index", metavar="DIR", help="A folder that is an index.")],
    output: OutputOption = Format.table,
) -> None:
    """Puts a wheel into an index, where a version never changes."""
    published = packages.publish(wheel, index)
    if output is Format.json:
        print_json(asdict(published))
        return
    print(f"✓ {published.package} {published.version} in {index}")
    print(f"  package: {published.package}   digest: {published.digest}")


@app.command("list", epilog="Example: plait plugin list --index /srv/plugins")
def show(
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="An index in place of this environment.")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Lists the plugins of this Python environment, or of an index."""
    if index is not None:
        wheels = packages.read_index(index)
        rows = [(", ".join(each["plugins"]), each["package"], each["version"], each["digest"][:19]) for each in wheels]
        return _listed({"wheels": wheels}, ("PLUGIN", "PACKAGE", "VERSION", "DIGEST"), rows, output)
    found = packages.installed()
    rows = [(each["plugin"], each["package"], each["version"], each["entry"]) for each in found]
    return _listed({"plugins": found}, ("PLUGIN", "PACKAGE", "VERSION", "CLASS"), rows, output)


def _listed(facts: dict[str, Any], headers: tuple[str, ...], rows: Sequence[tuple[str, ...]], output: Format) -> None:
    if output is Format.json:
        print_json(facts)
    elif rows:
        print_table(headers, rows)
    else:
        print("No plugins here. Make one: plait plugin new NAME")


def _facts(project: Project, module: str, mark: str, entry: str, config: Path | None) -> Any:
    """What a module of `plait_sdk.testing` finds out about a plugin, in a process of its own."""
    words = ("-m", f"plait_sdk.testing.{module}", entry, "--config", json.dumps(project.config(config)))
    done = project.run(project.python(*words), capture_output=True)
    facts, said = lines_with(mark, done.stdout)
    if facts is None:
        told = done.stderr.strip() or said
        raise Failure(f"{entry} could not be tried\n{told}", "is Hypothesis there? pip install 'plait-sdk[testing]'")
    return facts
