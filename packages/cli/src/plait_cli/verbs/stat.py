"""`plait stat`: success rate, requests a second and latencies of services, routes or edges over a window."""

import time
from typing import Annotated, Any

import typer

from plait_cli.asked import Asked, ClusterOption, ContextOption, KubeconfigOption, reached
from plait_cli.client import name_of
from plait_cli.errors import UNREACHABLE, Failure
from plait_cli.meshes import MeshOption, StateOption
from plait_cli.numbers import By, Row, rows, short
from plait_cli.output import Format, OutputOption, milliseconds, percent, print_json, print_table
from plait_cli.prometheus import Series, difference, parse

WindowOption = Annotated[float, typer.Option("--window", "-w", min=0.1, max=600, help="Seconds to measure.")]
HEADERS = (">SUCCESS", ">RPS", ">P50", ">P95", ">P99", "CALLERS", ">ROUTES", "")
# With what a start costs it stays below a second.
WINDOW_SECONDS = 0.5


def stat(
    window: WindowOption = WINDOW_SECONDS,
    by: Annotated[By, typer.Option("--by", help="What a row stands for.")] = By.service,
    mesh: MeshOption = None,
    state: StateOption = None,
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Measures for a moment and prints what callers got: success, requests a second, percentiles of the latency."""
    with reached(mesh, state, cluster, kubeconfig, context) as target:
        _, grown = sample(target, window)
    found = rows(grown, by)
    if output is Format.json:
        print_json({"window_seconds": window, "rows": [facts(row, window) for row in found]})
        return
    if not found:
        print(f"no traffic in {window:g} s; measure longer with --window 10")
        return
    print_table((by.value.upper(), *HEADERS), [cells(row, window) for row in found])


def sample(target: Asked, window: float) -> tuple[dict[Series, float], dict[Series, float]]:
    """The counters of all sidecars, and what they grew by within `window` seconds."""
    names = [name_of(entry) for entry in target.api.workloads()]
    before = target.metrics(names)
    time.sleep(window)
    after = {name: parse(text) for name, text in target.metrics(names).items()}
    if not after:
        raise Failure("no sidecar answers", "plait status", UNREACHABLE)
    total: dict[Series, float] = {}
    grown: dict[Series, float] = {}
    for name, samples in after.items():
        for series, value in samples.items():
            total[series] = total.get(series, 0.0) + value
        for series, value in difference(parse(before.get(name, "")), samples).items():
            grown[series] = grown.get(series, 0.0) + value
    return total, grown


def facts(row: Row, window: float) -> dict[str, Any]:
    """A row under stable names; latencies in seconds, null without requests."""
    return {
        "name": row.name,
        "requests": row.requests,
        "success_ratio": row.successes / row.requests if row.requests else None,
        "requests_per_second": row.requests / window,
        "p50_seconds": row.latency.percentile(0.50),
        "p95_seconds": row.latency.percentile(0.95),
        "p99_seconds": row.latency.percentile(0.99),
        "connections_per_second": row.connections / window,
        "bytes_per_second": row.bytes / window,
        "callers": sorted(row.callers),
        "routes": sorted(row.routes),
        "rejects": dict(row.rejects),
    }


def cells(row: Row, window: float) -> list[str]:
    """A row for people."""
    callers = ", ".join(sorted(short(caller) for caller in row.callers if caller))
    name = " → ".join(short(part) for part in row.name.split(" → "))
    if not row.requests:
        traffic = f"{row.connections / window:.1f} conns/s, {row.bytes / window / 1000:.1f} KB/s"
        return [name, "–", traffic, "", "", "", callers, "", note(row)]
    latencies = [milliseconds(row.latency.percentile(share)) for share in (0.50, 0.95, 0.99)]
    rate = f"{row.requests / window:.1f}"
    return [name, percent(row.successes, row.requests), rate, *latencies, callers, str(len(row.routes)), note(row)]


def note(row: Row) -> str:
    """The commonest reason for which the mesh answered itself; empty when it never did."""
    if not row.rejects:
        return ""
    reason, times = row.rejects.most_common(1)[0]
    return f"! {reason} {100 * times / row.requests:.1f} %" if row.requests else f"! {times} x {reason}"
