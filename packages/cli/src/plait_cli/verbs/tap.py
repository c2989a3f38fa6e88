"""`plait tap`: each request as it ends, live, as the sidecars see it."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from plait_cli.client import Admin, Api, Unreachable, name_of
from plait_cli.errors import UNREACHABLE, USAGE, Failure
from plait_cli.meshes import Mesh, MeshOption, StateOption, find
from plait_cli.numbers import short
from plait_cli.output import Format, OutputOption, console, milliseconds

# Sidecars that came meanwhile are looked at from then on.
LOOK_AGAIN_SECONDS = 2.0
# Lines that wait for a terminal that stands still; sidecars then tell how many were missed.
MOST_WAITING = 10_000

Line = dict[str, Any]
FromOption = Annotated[str, typer.Option("--from", "-f", help="Only of this caller: a Workload or service account.")]
ToOption = Annotated[str, typer.Option("--to", "-t", help="Only to this Service: reviews, or bookshop/reviews.")]
PathOption = Annotated[str, typer.Option("--path", help="Only where the path starts so.")]
StatusOption = Annotated[str, typer.Option("--status", help="Only with this status: 503, or a class: 5xx.")]
SideOption = Annotated[bool, typer.Option("--inbound", help="As the destinations' sidecars see it, not the callers'.")]
CountOption = Annotated[int, typer.Option("--count", "-n", min=0, help="End after so many; 0 = at Ctrl-C.")]
SecondsOption = Annotated[float, typer.Option("--for", min=0, help="End after so many seconds; 0 = at Ctrl-C.")]


def tap(
    source: FromOption = "",
    to: ToOption = "",
    path: PathOption = "",
    status: StatusOption = "",
    inbound: SideOption = False,
    count: CountOption = 0,
    seconds: SecondsOption = 0,
    mesh: MeshOption = None,
    state: StateOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Prints each request and connection when it ends, until Ctrl-C. With -o json a line of the access log each."""
    wanted = matching(source, to, path, status_of(status), "inbound" if inbound else "outbound")
    show = show_json if output is Format.json else show_line
    shown = 0
    try:
        for line in live(find(mesh, state), seconds):
            if "missed" in line:
                typer.echo(f"! {line['missed']} more ended than could be told", err=True)
            elif wanted(line):
                show(line)
                shown += 1
                if shown == count:
                    return
    except KeyboardInterrupt:
        return


def status_of(text: str) -> range | None:
    """The statuses that "503" or "5xx" mean; None = all."""
    if not text:
        return None
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
    if len(text) == 3 and text.isdigit():
        return range(int(text), int(text) + 1)
    raise Failure(f"--status {text} is no status", "write a number, 503, or a class, 5xx", USAGE)


def matching(source: str, to: str, path: str, status: range | None, side: str) -> Callable[[Line], bool]:
    """Whether a line is asked for; names match with or without their namespace, a service account its Workloads."""

    def named(full: str | None, wanted: str) -> bool:
        return not wanted or (full is not None and wanted in (full, full.partition("/")[2]))

    def wanted(line: Line) -> bool:
        if line["direction"] != side or not named(line["destination"], to):
            return False
        if not named(line["source"], source) and not named(line["account"], source):
            return False
        if not (line["path"] or "").startswith(path):
            return False
        return status is None or (line["status"] or 0) in status

    return wanted


def live(mesh: Mesh, seconds: float) -> Iterator[Line]:
    """What ends from now on at any sidecar, for so many seconds; 0 = without end. Raises Failure when none answers."""
    lines: queue.Queue[Line] = queue.Queue(MOST_WAITING)
    looking: dict[str, threading.Thread] = {}
    began = looked = time.monotonic()
    look(mesh, lines, looking)
    if not looking:
        raise Failure("no sidecar answers", "plait status", UNREACHABLE)
    while not seconds or time.monotonic() < began + seconds:
        if time.monotonic() > looked + LOOK_AGAIN_SECONDS:
            look(mesh, lines, looking)
            looked = time.monotonic()
        try:
            yield lines.get(timeout=0.1)
        except queue.Empty:
            continue


def look(mesh: Mesh, lines: "queue.Queue[Line]", looking: dict[str, threading.Thread]) -> None:
    """Begins to look at every sidecar that answers and is not looked at."""
    for entry in Api(mesh).workloads():
        name = name_of(entry)
        if name in looking and looking[name].is_alive():
            continue
        try:
            view = Admin(mesh, name).tap()
        except Unreachable:
            continue
        account = f"{entry['namespace']}/{entry['service_account']}"
        looking[name] = threading.Thread(target=follow, args=(view, account, lines), daemon=True)
        looking[name].start()


def follow(view: Iterator[bytes], account: str, lines: "queue.Queue[Line]") -> None:
    """Hands on what one sidecar tells, until it is gone."""
    for text in view:
        line = json.loads(text)
        # What is called as inbound is the account already; outbound lines name the Workload.
        lines.put({"account": account if line.get("direction") == "outbound" else None, **line})


def show_json(line: Line) -> None:
    """A line of the access log, for programs."""
    print(json.dumps({name: value for name, value in line.items() if name != "account"}), flush=True)


def show_line(line: Line) -> None:
    """A line for people: when, who, whom, what, how it ended, and why the mesh answered itself."""
    source, destination = (
        short(line["source"] or "unknown"),
        short(line["destination"] or line["authority"] or "unknown"),
    )
    took = milliseconds(line["duration_ms"] / 1000)
    if line["protocol"] == "tcp":
        what = f"tcp  {line['sent_bytes']:,} B sent, {line['received_bytes']:,} B received"
        good = line["reason"] is None
    else:
        what = f"{line['method']} {line['path']}  {line['status']}"
        good = line["status"] < 400
    where = f"  {short(line['endpoint'])}" if line["endpoint"] else ""
    again = f"  {line['attempts']} attempts" if line["attempts"] > 1 else ""
    why = " ".join(str(line[name]) for name in ("reason", "object") if line[name])
    said = f"{line['time'][11:23]}  {source} → {destination}  {what}  {took}{where}{again}" + (
        f"  ! {why}" if why else ""
    )
    # Callers choose paths and hosts: what would steer a terminal is shown, not done.
    text = Text("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in said))
    if not good:
        text.stylize("red")
    console().print(text)
