"""Plait beside nginx, HAProxy and Envoy in one run; README.md says what is measured and how.

`./dev nox -s bench -- --help` lists the options.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import certificates
import goals
import load
import measure
import peer_envoy
import peer_nginx
import report
from contenders import Bench, process, tell_who_is_missing
from groups import GROUPS, MEGABYTE, Outcome
from protocol import Protocol
from rounds import Plan

HTTP_ORIGINS = 2


def main() -> int:
    options = arguments()
    if missing := list(absent(options.syscalls)):
        print("\n".join(f"✗ {program} is missing: {cure}" for program, cure in missing), file=sys.stderr)
        return 2
    tell_who_is_missing()
    machine = describe()
    print(machine, flush=True)
    outcomes: dict[str, Outcome] = {}
    with prepared() as bench:
        traces = bench.folder if options.syscalls else None
        plan = Plan(options.rounds, options.seconds, options.connections, options.idle, traces)
        for name in options.groups:
            outcomes[name] = GROUPS[name](bench, plan)
            print(f"\n{report.table(outcomes[name])}", flush=True)
    verdicts = goals.judge(outcomes)
    print("\nWhat must be reached, and what is aimed at:\n")
    print("\n".join(verdict.line for verdict in verdicts))
    if options.json:
        found = {"machine": machine, "groups": {name: asdict(one) for name, one in outcomes.items()}}
        judged = [{**asdict(verdict), "line": verdict.line} for verdict in verdicts]
        options.json.write_text(json.dumps({**found, "verdicts": judged}, indent=1))
    return 0


def absent(syscalls: bool) -> Iterator[tuple[str, str]]:
    """What no run can do without, and where to get it."""
    packages = {"nginx": "nginx-light", "wrk": "wrk", "h2load": "nghttp2-client"} | (
        {"strace": "strace"} if syscalls else {}
    )
    for program, package in packages.items():
        if not shutil.which(program):
            yield program, f"Debian: apt install {package}"
    if not load.binary().exists():
        yield str(load.binary()), "cargo build --release -p plait-load"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=chosen, default=list(GROUPS), help=f"of {','.join(GROUPS)}; default all")
    parser.add_argument("--connections", type=numbers, default=[1, 32, 256], help="default 1,32,256")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=int, default=2, help="of each run of a round; default 2")
    parser.add_argument("--idle", type=int, default=500, help="idle connections that are opened; default 500")
    parser.add_argument("--syscalls", action="store_true", help="count system calls a request too, with strace")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def chosen(text: str) -> list[str]:
    for name in text.split(","):
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(GROUPS)}")
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


@contextmanager
def prepared() -> Iterator[Bench]:
    """Certificates and running origins."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        # nginx drops its privileges before it reads the file.
        folder.chmod(0o755)
        megabyte = folder / "www" / "big" / "megabyte"
        megabyte.parent.mkdir(parents=True)
        megabyte.write_bytes(bytes(MEGABYTE))
        bench = Bench(folder, certificates.make(folder, ["caller", "called"]))
        http = [bench.port() for _ in range(HTTP_ORIGINS)]
        own = {kind: bench.port() for kind in (Protocol.GRPC, Protocol.WEBSOCKET, Protocol.TCP)}
        bench.origins = {Protocol.HTTP: http, **{kind: [port] for kind, port in own.items()}}
        stack.enter_context(process(peer_nginx.origin(folder, http, folder / "www"), folder / "origin.log"))
        stack.enter_context(process(load.origin(own), folder / "origin.log"))
        for port in (*http, *own.values()):
            measure.wait_for_port(port)
        yield bench


def describe() -> str:
    """The machine and who is compared on it, in a line for the head of a page."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = [
        said(command)
        for command in (
            ["plait-proxy", "--version"],
            ["nginx", "-v"],
            ["haproxy", "-v"],
            [peer_envoy.binary() or "envoy", "--version"],
        )
    ]
    cores = f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()})"
    known = ", ".join(version for version in versions if version)
    return f"{cores}, Linux {platform.release()}, load {os.getloadavg()[0]:.2f} at the start; {known}."


def said(command: list[str]) -> str:
    """Name and version, of programs that tell it in many ways."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)?", ended.stdout + ended.stderr)
    return f"{Path(command[0]).name} {found.group() if found else '?'}"


if __name__ == "__main__":
    sys.exit(main())
