"""`plait tap`: each request as it ends, live, as the sidecars see it.

On this machine they are asked themselves; on a cluster the logs of their pods are read, with the rights of the user.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import typer
from rich.text import Text

from plait_cli.asked import Asked, ClusterOption, ContextOption, KubeconfigOption, OnCluster, reached
from plait_cli.client import Unreachable, name_of
from plait_cli.errors import UNREACHABLE, USAGE, Failure
from plait_cli.meshes import MeshOption, StateOption
from plait_cli.numbers import short
from plait_cli.output import Format, OutputOption, console, milliseconds

# Sidecars that came meanwhile are looked at from then on.
LOOK_AGAIN_SECONDS = 2.0
# Lines that wait for a terminal that stands still; sidecars then tell how many were missed.
MOST_WAITING = 10_000
# Each pod that is looked at is a stream through the API server.
MOST_PODS = 100

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
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Prints each request and connection when it ends, until Ctrl-C. With -o json a line of the access log each.

    On a cluster these are the lines that spec.telemetry.accessLog of the Mesh has proxies write to the logs of pods.
    """
    wanted = matching(source, to, path, status_of(status), "inbound" if inbound else "outbound")
    show = show_json if output is Format.json else show_line
    shown = 0
    try:
        with reached(mesh, state, cluster, kubeconfig, context) as target:
            for line in live(target, source if not inbound else "", seconds):
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


def named(full: str | None, wanted: str) -> bool:
    """Whether a name is meant, with or without its namespace."""
    return not wanted or (full is not None and wanted in (full, full.partition("/")[2]))


def matching(source: str, to: str, path: str, status: range | None, side: str) -> Callable[[Line], bool]:
    """Whether a line is asked for; a service account means its Workloads."""

    def wanted(line: Line) -> bool:
        if line["direction"] != side or not named(line["destination"], to):
            return False
        if not named(line["source"], source) and not named(line["account"], source):
            return False
        if not (line["path"] or "").startswith(path):
            return False
        return status is None or (line["status"] or 0) in status

    return wanted


class Refused(NamedTuple):
    """A sidecar that the user may not look at."""

    workload: str
    failure: Failure


def live(target: Asked, source: str, seconds: float) -> Iterator[Line]:
    """What ends from now on at any sidecar, for so many seconds; 0 = without end. Raises Failure when none answers.

    With a `source` only its sidecars are looked at.
    """
    lines: queue.Queue[Line | Refused] = queue.Queue(MOST_WAITING)
    looking: dict[str, threading.Thread] = {}
    refused: set[str] = set()
    began = looked = time.monotonic()
    look(target, source, lines, looking, refused)
    if not looking:
        raise Failure("no sidecar answers", "plait status", UNREACHABLE)
    while not seconds or time.monotonic() < began + seconds:
        if time.monotonic() > looked + LOOK_AGAIN_SECONDS:
            look(target, source, lines, looking, refused)
            looked = time.monotonic()
        try:
            line = lines.get(timeout=0.1)
        except queue.Empty:
            continue
        if not isinstance(line, Refused):
            yield line
            continue
        if line.workload in refused:
            continue
        refused.add(line.workload)
        if refused >= looking.keys():
            raise line.failure
        typer.echo(f"! {line.workload} is not looked at: {line.failure.message}", err=True)


def look(
    target: Asked,
    source: str,
    lines: "queue.Queue[Line | Refused]",
    looking: dict[str, threading.Thread],
    refused: set[str],
) -> None:
    """Begins to look at every sidecar that answers and is not looked at. What is refused once is not tried again."""
    found = {name_of(entry): f"{entry['namespace']}/{entry['service_account']}" for entry in target.api.workloads()}
    chosen = {name: account for name, account in found.items() if named(name, source) or named(account, source)}
    if isinstance(target, OnCluster) and len(chosen) > MOST_PODS:
        raise Failure(f"{len(chosen)} pods are too many to look at", f"--from narrows it to {MOST_PODS}", USAGE)
    for name, account in chosen.items():
        if name in refused or (name in looking and looking[name].is_alive()):
            continue
        try:
            view = target.tap(name)
        except Unreachable:
            continue
        looking[name] = threading.Thread(target=follow, args=(view, name, account, lines), daemon=True)
        looking[name].start()


def follow(view: Iterator[bytes], name: str, account: str, lines: "queue.Queue[Line | Refused]") -> None:
    """Hands on what one sidecar tells, until it is gone."""
    try:
        for text in view:
            line = access_line(text)
            if line is not None:
                # What is called as inbound is the account already; outbound lines name the Workload.
                lines.put({"account": account if line.get("direction") == "outbound" else None, **line})
    except Failure as failure:
        lines.put(Refused(name, failure))


def access_line(text: bytes) -> Line | None:
    """A line of the access log, or how many were missed; None for what else a log says."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and ("direction" in line or "missed" in line) else None


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
