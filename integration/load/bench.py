"""Plait beside nginx, HAProxy and Envoy in one run; README.md says what is measured.

`./dev nox -s bench -- --help` lists the options.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import certificates
import measure
import ours
import peers

ORIGINS = [19081, 19082]
Table = dict[str, dict[str, Any]]


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def contenders(folder: Path, root: bytes) -> dict[str, tuple[str, int, list[list[str]]]]:
    """name -> (group, port, commands). A peer that is not installed is named and left out."""
    plain = [ours.plaintext(port) for port in ORIGINS]
    between = ours.sidecar(19132, ORIGINS[0])
    found: dict[str, tuple[str, int, list[list[str]]]] = {}
    for routes, port in ((1, 19031), (10, 19033), (10_000, 19035)):
        resources = ours.caller(root, port, port + 1000, plain, routes)
        group = "hop" if routes == 1 else "routes"
        name = "plait" if routes == 1 else f"plait {routes} routes"
        found[name] = (group, port, [ours.command(folder, f"hop-{routes}", resources, "caller")])
    pair = [
        ours.command(folder, "called", ours.called(root, 19132, ORIGINS[0]), "called"),
        ours.command(folder, "caller", ours.caller(root, 19131, 20131, [between], 1), "caller"),
    ]
    found["plait pair"] = ("pair", 19131, pair)
    if shutil.which("nginx"):
        found["nginx"] = ("hop", 19001, [peers.nginx_hop(folder, 19001, ORIGINS)])
        found["nginx pair"] = ("pair", 19101, peers.nginx_pair(folder, 19101, 19102, ORIGINS))
    if shutil.which("haproxy"):
        found["haproxy"] = ("hop", 19002, [peers.haproxy_hop(folder, 19002, ORIGINS)])
    if peers.envoy_binary():
        found["envoy"] = ("hop", 19003, [peers.envoy_hop(folder, 19003, ORIGINS)])
        found["envoy pair"] = ("pair", 19111, peers.envoy_pair(folder, 19111, 19112, ORIGINS))
        for routes, port in ((10, 19041), (10_000, 19042)):
            found[f"envoy {routes} routes"] = ("routes", port, [peers.envoy_hop(folder, port, ORIGINS, routes)])
    for peer, there in (("nginx", "nginx"), ("haproxy", "haproxy"), ("envoy", "envoy")):
        if there not in found:
            print(f"{peer} is not installed: left out", file=sys.stderr)
    return found


def rounds(found: dict[str, Any], pids: dict[str, list[int]], results: Table, options: argparse.Namespace) -> None:
    cases = [(group, count, "/") for group in ("hop", "pair") for count in options.connections]
    cases += [("routes", 32, "/"), ("hop", 32, "/big/megabyte"), ("pair", 32, "/big/megabyte")]
    for group, connections, path in cases:
        names = [name for name, (its, _, _) in found.items() if its == group]
        for turn in range(options.rounds):
            for name in names if turn % 2 == 0 else names[::-1]:
                before = measure.cpu_nanoseconds(pids[name])
                load = measure.wrk(found[name][1], connections, options.seconds, path, peers.HOST)
                spent = measure.cpu_nanoseconds(pids[name]) - before
                key = f"{connections}{' 1 MB' if path != '/' else ''}"
                row = results[name].setdefault(key, {"microseconds": [], "failed": 0})
                row["failed"] += load.failed
                row["microseconds"].append(spent / 1000 / max(1, load.requests))


def memory(found: dict[str, Any], pids: dict[str, list[int]], results: Table, idle: dict[str, int], count: int) -> None:
    for name, (_, port, _) in found.items():
        results[name]["idle_megabytes"] = round(idle[name] / 1024, 1)
        connections = measure.idle_connections(port, peers.HOST, count)
        results[name]["kilobytes_per_idle_connection"] = round(
            (measure.resident_kilobytes(pids[name]) - idle[name]) / count, 1
        )
        for connection in connections:
            connection.close()


def show(found: dict[str, Any], results: Table) -> None:
    for group in ("hop", "pair", "routes"):
        names = [name for name, (its, _, _) in found.items() if its == group]
        columns = [key for key in results[names[0]] if isinstance(results[names[0]][key], dict)]
        print(f"\n{group}: CPU µs a request, median (min-max), ratio to Envoy\n")
        print("| proxy | " + " | ".join(f"{key} connections" for key in columns) + " | idle MB | KB a connection |")
        print("|---|" + "---|" * (len(columns) + 2))
        for name in names:
            cells = [cell(results, name, names, key) for key in columns]
            tail = [results[name]["idle_megabytes"], results[name]["kilobytes_per_idle_connection"]]
            print(f"| {name} | " + " | ".join(map(str, cells + tail)) + " |")


def cell(results: Table, name: str, names: list[str], key: str) -> str:
    row = results[name][key]
    if row["failed"]:
        return f"void: {row['failed']} failed"
    mine = row["microseconds"]
    twin = f"envoy{name.removeprefix('plait')}" if name.startswith("plait") else None
    envoy = twin if twin in names else next((other for other in names if other.startswith("envoy")), None)
    ratio = (
        f", {statistics.median(mine) / statistics.median(results[envoy][key]['microseconds']):.2f}x" if envoy else ""
    )
    return f"{statistics.median(mine):.1f} ({min(mine):.1f}-{max(mine):.1f}){ratio}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=lambda text: [int(n) for n in text.split(",")], default=[1, 32, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--idle", type=int, default=500, help="idle connections opened to measure their memory")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        megabyte = folder / "www" / "big" / "megabyte"
        megabyte.parent.mkdir(parents=True)
        megabyte.write_bytes(bytes(1 << 20))
        root = certificates.make(folder, ["caller", "called"])
        stack.enter_context(process(peers.nginx_origin(folder, ORIGINS, megabyte.parent), folder / "origin.log"))
        measure.wait_for_port(ORIGINS[0])
        found, pids = contenders(folder, root), {}
        for name, (_, port, commands) in found.items():
            pids[name] = [stack.enter_context(process(command, folder / "log")).pid for command in commands]
            measure.wait_for_port(port)
        results: Table = {name: {} for name in found}
        # Before any load: what a load leaves behind in an allocator would hide what an idle connection costs.
        idle = {name: measure.resident_kilobytes(pids[name]) for name in found}
        memory(found, pids, results, idle, options.idle)
        rounds(found, pids, results, options)
    show(found, results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
