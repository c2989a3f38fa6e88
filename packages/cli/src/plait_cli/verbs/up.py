"""`plait up DIR`: runs the mesh that a directory of YAML describes, in the foreground or detached."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.client import name_of
from plait_cli.errors import USAGE, Failure
from plait_cli.laptop import READY_SECONDS, Laptop, Python
from plait_cli.meshes import HooksOption, Mesh, StateOption, place
from plait_cli.output import count

NAME_WIDTH = 24
COLOURS = (36, 33, 35, 32, 34, 31)


def up(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that holds the YAML.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the mesh; the folder's by default.")] = None,
    state: StateOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready; plait down ends it.")
    ] = False,
    plugins: Annotated[
        Path | None, typer.Option("--plugins", metavar="FOLDER", help="Wheels, for Plugins that name a digest.")
    ] = None,
    hooks: HooksOption = None,
) -> None:
    """Runs a mesh: the control plane, and a sidecar beside each Workload. Ctrl-C ends all of it."""
    if not directory.is_dir():
        raise Failure(f"{directory} is not a folder", "give the folder that holds your YAML", USAGE)
    if plugins is not None and not plugins.is_dir():
        raise Failure(f"{plugins} is not a folder", "give the folder that plait plugin publish writes to", USAGE)
    if hooks is not None and not hooks.is_file():
        raise Failure(f"{hooks} is not a file", "docs/guide/control-plane-plugins.md shows one", USAGE)
    mesh = place(name or directory.resolve().name, state)
    if not any(directory.rglob("*.y*ml")):
        raise Failure(f"{directory} holds no YAML", "plait demo shows a folder that does", USAGE)
    if detach:
        start_detached(mesh, directory, state, Python(plugins, hooks))
        return
    with mesh.locked():
        asyncio.run(run(mesh, directory, Python(plugins, hooks)))


async def run(mesh: Mesh, directory: Path, python: Python | None = None) -> None:
    """Runs the mesh until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    laptop = Laptop(mesh, directory, prefixed, python)
    began = time.monotonic()
    try:
        laptop.start()
        ready = asyncio.create_task(laptop.wait_ready(lambda missing: None))
        stop = asyncio.create_task(ended.wait())
        await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            facts = ready.result()
            workloads = await asyncio.to_thread(laptop.api.workloads)
            wrong = sum(bool(entry["problems"]) for entry in await asyncio.to_thread(laptop.api.objects))
            print(announcement(facts, workloads, wrong, time.monotonic() - began), flush=True)
            (mesh.state / "ready").touch()  # after the announcement: whoever waits for it prints that
            await stop
        ready.cancel()
        print(f"mesh {mesh.name} is ending", flush=True)
    finally:
        (mesh.state / "ready").unlink(missing_ok=True)
        await laptop.stop()


def announcement(facts: dict[str, Any], workloads: list[dict[str, Any]], wrong: int, seconds: float) -> str:
    """What is printed when every sidecar is current; `wrong` objects have problems."""
    lines = [
        f"✓ mesh {facts['name']}: {count(len(workloads), 'sidecar')} "
        f"serve generation {facts['generation']} ({seconds:.1f} s)"
    ]
    for entry in workloads:
        binds = "".join(f", {bind['listen']} is {bind['to']}" for bind in entry.get("binds", []))
        outbound = entry.get("outbound") or "none"
        lines.append(f"  {name_of(entry):{NAME_WIDTH}} calls others through {outbound}{binds}")
    if wrong:
        lines.append(
            f"! {count(wrong, 'object')} with problems: plait status names file, line and what to write instead"
        )
    beside = sorted(f"{entry['address']}:{port['port']}" for entry in workloads for port in entry["ports"])
    lines.append(f"! open beside the mesh, without identity or policy: {', '.join(beside)}")
    lines.append("  (each process listens there itself; keep these ports on loopback)")
    lines.append("Try:  plait status    plait stat    plait edges        Ctrl-C or plait down ends everything")
    return "\n".join(lines)


def prefixed(name: str, line: str) -> None:
    """Prints a child's line behind its name, coloured on a terminal."""
    label = f"{name:{NAME_WIDTH}} │ "
    if sys.stdout.isatty():
        label = f"\x1b[{COLOURS[sum(name.encode()) % len(COLOURS)]}m{label}\x1b[0m"
    print(label + line, flush=True)


def start_detached(mesh: Mesh, directory: Path, state: Path | None, python: Python) -> None:
    """Starts `plait up` in a session of its own and waits until it is ready."""
    with mesh.locked():  # only to say at once that it is up already
        mesh.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "plait_cli.main", "up", str(directory.absolute()), "--name", mesh.name]
    command += ["--state", str(state.absolute())] if state is not None else []
    command += ["--plugins", str(python.wheels.absolute())] if python.wheels is not None else []
    command += ["--hooks", str(python.hooks.absolute())] if python.hooks is not None else []
    log = mesh.log / "up.log"
    (mesh.state / "ready").unlink(missing_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + READY_SECONDS + 5
    while not (mesh.state / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            if process.poll() is None:
                process.terminate()
            raise Failure(f"mesh {mesh.name} did not become ready", f"{last_words(log)}\n  all that it said: {log}")
        time.sleep(0.05)
    said = log.read_text()
    print(said[said.index("✓ mesh") :], end="")


def last_words(log: Path) -> str:
    """What a mesh that failed said of it; when it ended without a word of its own, the end of its log."""
    _, mark, words = log.read_text().rpartition("\n✗ ")
    return words.strip() if mark else words[-2000:].strip()
