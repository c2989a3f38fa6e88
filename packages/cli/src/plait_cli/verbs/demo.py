"""`plait demo`: starts the bookshop and its mesh, shows what a mesh does on live traffic, and stays up.

`--check` verifies each claim and ends.
"""

import asyncio
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.demo.claims import CLAIMS, Length
from plait_cli.demo.claims.result import Result
from plait_cli.demo.stage import RATE, Stage, copy_yaml
from plait_cli.errors import DONE, NOT_SO, USAGE, Failure
from plait_cli.meshes import Mesh, StateOption, place
from plait_cli.output import count

TITLE_WIDTH = 30
MESH = "bookshop"
# Enough to see it while one waits; --check measures as long as the claims need.
SHORT = Length(split=4.0, changes=2.0, fault=2.0)


def demo(
    check: Annotated[bool, typer.Option("--check", help="Verify every claim, stop everything, exit 0 or 1.")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="Where the YAML is copied for you to edit.")] = Path("demo"),
    churn: Annotated[float, typer.Option("--churn", min=1, help="Seconds of route changes, with --check.")] = 30.0,
    state: StateOption = None,
) -> None:
    """Runs a small bookshop in a mesh: real processes, real load. Ctrl-C ends everything."""
    if check:
        with tempfile.TemporaryDirectory(prefix="plait-demo-") as folder:
            mesh = place(MESH, state or Path(folder) / "state")
            copy_yaml(Path(folder) / "demo")
            length = Length(split=min(27.0, churn), changes=churn, fault=min(6.0, churn))
            with mesh.locked():
                passed = asyncio.run(verify(mesh, Path(folder) / "demo", length))
        raise typer.Exit(DONE if passed else NOT_SO)
    fresh = not any(directory.glob("*.y*ml"))
    if directory.exists() and not directory.is_dir():
        raise Failure(f"{directory} is not a folder", "name another one with --dir", USAGE)
    if fresh:
        copy_yaml(directory)
    mesh = place(MESH, state)
    with mesh.locked():
        asyncio.run(show(mesh, directory, fresh))


def quiet(name: str, line: str) -> None:
    """What the parts say goes to their logs; the demo shows claims."""


async def verify(mesh: Mesh, directory: Path, length: Length) -> bool:
    """Every claim against live traffic, one line each; whether none is false."""
    stage = Stage(mesh, directory, quiet)
    began = time.monotonic()
    try:
        await open_stage(stage)
        results = [await told(stage, number, length) for number in range(len(CLAIMS))]
    except Failure:
        print(tails(mesh), end="")
        raise
    finally:
        await stage.stop()
    failed = sum(result.holds is False for result in results)
    unknown = sum(result.holds is None for result in results)
    print(f"\n{count(len(results) - failed - unknown, 'claim')} hold, {failed} fail, {unknown} not checked ", end="")
    print(f"({time.monotonic() - began:.0f} s)")
    if failed:
        print(tails(mesh), end="")
    return not failed


async def show(mesh: Mesh, directory: Path, fresh: bool) -> None:
    """The demo for people: claims in short, then up until Ctrl-C. A folder that was there already is never edited."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    stage = Stage(mesh, directory, quiet)
    shown = asyncio.create_task(show_claims(stage, fresh))
    stop = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({shown, stop}, return_when=asyncio.FIRST_COMPLETED)
        if shown.done():
            shown.result()
            print(f"\n  Try:  plait status    plait stat    {EXPLAIN}")
            print(
                f"        edit {directory}/routes.yaml and watch the split change        Ctrl-C ends everything",
                flush=True,
            )
            await stop
    finally:
        shown.cancel()
        await asyncio.wait({shown})
        print("\nending", flush=True)
        await stage.stop()


EXPLAIN = "plait explain GET http://reviews/reviews/7 --from web"


async def show_claims(stage: Stage, fresh: bool) -> None:
    """Starts the stage and tells the claims."""
    await open_stage(stage)
    for number, claim in enumerate(CLAIMS):
        if fresh or not claim.edits:
            await told(stage, number, SHORT)
        else:
            line("–", claim.title, f"not tried: {stage.directory} was there already, its files are yours", TITLE_WIDTH)


async def open_stage(stage: Stage) -> None:
    """Starts everything and prints what is up."""
    began = time.monotonic()
    facts: dict[str, Any] = await stage.start(lambda missing: None)
    objects = await asyncio.to_thread(stage.laptop.api.objects)
    services = sum(entry["kind"] == "Service" for entry in objects)
    sidecars = len(stage.laptop.children) - 1
    text = f"{count(services, 'service')}, {count(sidecars, 'sidecar')}; generation {facts['generation']} everywhere"
    line("✓", f"mesh {facts.get('name', MESH)}", f"{text}  ({time.monotonic() - began:.1f} s)", 17)
    await stage.start_load()
    line("✓", "load", f"{RATE:.0f} requests a second from web", 17)


async def told(stage: Stage, number: int, length: Length) -> Result:
    """Checks one claim and prints its line."""
    claim = CLAIMS[number]
    try:
        result = await claim.check(stage, length)
    except (OSError, Failure, LookupError) as error:
        result = Result(False, f"{type(error).__name__}: {error}")
    line({True: "✓", False: "✗", None: "–"}[result.holds], claim.title, result.measured, TITLE_WIDTH)
    return result


def line(mark: str, title: str, text: str, width: int) -> None:
    """One line of the demo."""
    print(f"{mark} {title:{width}}{text}", flush=True)


def tails(mesh: Mesh) -> str:
    """What the parts said last, for a demo that failed: the folder is gone when the command ends."""
    logs = sorted(mesh.state.glob("**/log/log")) + sorted(mesh.state.glob("proxies/*/log"))
    return "".join(f"--- {path.relative_to(mesh.state)}\n{tail(path)}\n" for path in logs if path.is_file())


def tail(path: Path) -> str:
    """The last lines of a file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
