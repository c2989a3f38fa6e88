"""Owns the group `plugins`: filters of one's own through Plait and Envoy, beside the same proxy without any.

Called by groups.py. A plugin comes from a wheel, as on a mesh; what is asked beside a proxy counts with it.
"""

import hashlib
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import load
import ours
import peer_envoy
import peer_envoy_filters
import peer_nginx
from contenders import Bench, Contender
from load import Asked
from ours import Attached
from peer_envoy import Way
from plait_sdk.contracts import route_pb2
from protocol import Protocol
from rounds import Case, Row, Rows

HERE = Path(__file__).parent
FIELDS = ("x-user: alice", "accept-language: en-GB")
PLAIN = Asked(fields=FIELDS)
TAGGED = replace(PLAIN, path="/tagged")
"""The origin answers it with 200 when the filter did its work, and only then."""
DENIED = replace(PLAIN, status=403)
BODY_BYTES = 64 << 10
BODY_CONNECTIONS = 32
BARE = ("plait", "envoy")
ELSEWHERE = "bench/elsewhere"


def contenders(bench: Bench) -> list[Contender]:
    """Each maker's proxy without a filter, then with one."""
    return [*ours_of(bench), *(envoys(bench) if peer_envoy.binary() else [])]


def ours_of(bench: Bench) -> list[Contender]:
    wheels = bench.folder / "wheels"
    digest = wheel(wheels)
    options = ("--python", sys.executable, "--plugins", str(wheels))
    tag = Attached("tag", digest)
    three = tuple(replace(tag, config=f'{{"header": "{name}"}}') for name in ("x-tag", "x-tag-2", "x-tag-3"))
    header = route_pb2.Filter(
        request_headers=route_pb2.HeaderModifier(set=[route_pb2.Header(name="x-tag", value="alice-en")])
    )

    def one(name: str, asked: Asked, *plugins: Attached, filters: tuple[route_pb2.Filter, ...] = ()) -> Contender:
        port = bench.port()
        endpoints = [ours.plaintext(origin) for origin in bench.origins[Protocol.HTTP]]
        side = ours.Caller(port, bench.port(), endpoints, plugins=plugins, filters=filters)
        resources = ours.caller(bench.root, side)
        more = options if plugins else ()
        command = ours.command(bench.folder, f"plugins-{port}", resources, "caller", *more)
        return Contender(f"plait {name}".strip(), port, [command], asked=asked)

    return [
        one("", PLAIN),
        one("plugin elsewhere", PLAIN, replace(tag, service=ELSEWHERE)),
        one("header filter", TAGGED, filters=(header,)),
        one("sync", TAGGED, tag),
        one("async", TAGGED, Attached("tag-async", digest)),
        one("three", TAGGED, *three),
        one("deny", DENIED, Attached("deny", digest)),
        one("body", PLAIN, Attached("body", digest)),
    ]


def wheel(folder: Path) -> str:
    """Builds the plugins; the wheel's digest."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=HERE / "package", check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return f"sha256:{hashlib.sha256(built.read_bytes()).hexdigest()}"


def envoys(bench: Bench) -> list[Contender]:
    def one(name: str, asked: Asked, way: Way, beside: tuple[int, list[str]] | None = None) -> Contender:
        port = bench.port()
        command = peer_envoy.filtered(bench.folder, f"plugins-{port}", port, bench.origins[Protocol.HTTP], way)
        commands = [command, *([beside[1]] if beside else [])]
        return Contender(f"envoy {name}".strip(), port, commands, beside[0] if beside else None, asked)

    def authorizer() -> tuple[int, list[str]]:
        port = bench.port()
        return port, peer_nginx.authorizer(bench.folder, port)

    def processor() -> tuple[int, list[str]]:
        port = bench.port()
        return port, [sys.executable, str(HERE / "processor.py"), str(port)]

    def asking(
        name: str, asked: Asked, start: Callable[[], tuple[int, list[str]]], way: Callable[[int], Way]
    ) -> Contender:
        beside = start()
        return one(name, asked, way(beside[0]), beside)

    kinds = peer_envoy_filters
    return [
        one("", PLAIN, Way()),
        one("header filter", TAGGED, kinds.header()),
        one("lua", TAGGED, kinds.lua(kinds.TAG)),
        asking("ext_authz", TAGGED, authorizer, kinds.authorizer),
        asking("ext_proc", TAGGED, processor, kinds.processor),
        one("lua deny", DENIED, kinds.lua(kinds.DENY)),
        asking("ext_authz deny", DENIED, authorizer, lambda port: kinds.authorizer(port, "/denied")),
        one("lua body", PLAIN, kinds.lua(kinds.BODY)),
        asking("ext_proc body", PLAIN, processor, lambda port: kinds.processor(port, body=True)),
    ]


def cases(connections: list[int]) -> list[Case]:
    """Heads at each number of connections, and bodies for those who look at them."""

    def head(count: int) -> Case:
        return Case(
            f"{count} connection{'s' if count > 1 else ''}",
            lambda contender, seconds: load.wrk(contender.port, count, seconds, contender.asked),
            traced=count == BODY_CONNECTIONS,
            fits=lambda contender: not looks_at_bodies(contender),
        )

    def body(contender: Contender, seconds: int) -> load.Load:
        asked = replace(contender.asked, path="/read", body_bytes=BODY_BYTES)
        return load.wrk(contender.port, BODY_CONNECTIONS, seconds, asked)

    column = f"{BODY_CONNECTIONS} connections, body of {BODY_BYTES >> 10} KB"
    both = Case(column, body, fits=lambda contender: contender.name in BARE or looks_at_bodies(contender))
    return [*map(head, connections), both]


def looks_at_bodies(contender: Contender) -> bool:
    return contender.name.endswith(" body")


def added(rows: Rows) -> Rows:
    """What each adds to the median of its maker's proxy without a filter; those stand as they are."""
    found: Rows = {}
    for name, columns in rows.items():
        bare = rows[name.split()[0]]
        found[name] = {column: row if name in BARE else above(row, bare[column]) for column, row in columns.items()}
    return found


def above(row: Row, bare: Row) -> Row:
    if bare.void:
        return Row(row.figures, row.void or f"without a filter: {bare.void}")
    return Row([figure - statistics.median(bare.figures) for figure in row.figures], row.void)


def against(contenders: list[Contender]) -> dict[str, str]:
    """Lua, which is what Envoy itself runs: that of the same work where it has one."""

    def base(name: str) -> str:
        words = name.split()
        return f"envoy lua {words[-1]}" if words[-1] in ("deny", "body") else "envoy lua"

    return {one.name: base(one.name) for one in contenders if one.name not in BARE}
