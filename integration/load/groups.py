"""Owns what is compared: a group is one piece of work, its contenders and its cases. Called by bench.py.

To add a group: a function here, its name in GROUPS, and what it must reach in goals.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import filters
import load
import measure
import ours
import peer_envoy
import peer_nginx
import rounds
from contenders import Bench, Contender, hops, pairs, running
from load import Asked, Handshake
from protocol import HOST, Protocol
from rounds import Calls, Case, Plan, Row, Rows

MEGABYTE = 1 << 20
BULK_CONNECTIONS = 32
SERVICES = 1000
KNEE_SHARE = 0.3
# A second holds too few of the slowest in a thousand.
LEAST_LATENCY_SECONDS = 5
RATE_WITHOUT_ENVOY = 2000.0
ALPN = {"plait": "plait/1", "nginx": "http/1.1", "envoy": "h2"}


@dataclass(frozen=True)
class Outcome:
    title: str
    rows: Rows
    calls: Calls = field(default_factory=dict)
    against: dict[str, str] = field(default_factory=dict)
    """Whom a contender is compared with, where it is not Envoy's of the same name."""


def compare(bench: Bench, plan: Plan, title: str, contenders: list[Contender], cases: list[Case]) -> Outcome:
    with running(contenders, bench.folder / "log") as pids:
        rows, calls = rounds.cpu(contenders, cases, pids, plan)
    return Outcome(f"{title}. CPU µs a request", rows, calls)


def http(connections: int, path: str = "/") -> Case:
    return Case(
        column(connections, bulk=path != "/"),
        lambda contender, seconds: load.wrk(contender.port, connections, seconds, Asked(path)),
        traced=connections == BULK_CONNECTIONS and path == "/",
    )


def column(connections: int, bulk: bool = False) -> str:
    return f"{connections} connection{'s' if connections > 1 else ''}" + (", 1 MB" if bulk else "")


def hop(bench: Bench, plan: Plan) -> Outcome:
    cases = [*map(http, plan.connections), http(BULK_CONNECTIONS, "/big/megabyte")]
    return compare(bench, plan, "HTTP/1.1 through one proxy, plaintext", hops(bench, Protocol.HTTP), cases)


def pair(bench: Bench, plan: Plan) -> Outcome:
    cases = [*map(http, plan.connections), http(BULK_CONNECTIONS, "/big/megabyte")]
    title = "HTTP/1.1 through two proxies, mutual TLS 1.3 between them"
    return compare(bench, plan, title, pairs(bench, Protocol.HTTP), cases)


def routes(bench: Bench, plan: Plan) -> Outcome:
    origins = bench.origins[Protocol.HTTP]
    contenders = []
    for count in (10, 10_000):
        port = bench.port()
        side = ours.Caller(port, bench.port(), [ours.plaintext(origin) for origin in origins], routes=count)
        command = ours.command(bench.folder, f"routes-{count}", ours.caller(bench.root, side), "caller")
        contenders.append(Contender(f"plait {count} routes", port, [command]))
        if peer_envoy.binary():
            port = bench.port()
            command = peer_envoy.many_routes(bench.folder, port, origins, count)
            contenders.append(Contender(f"envoy {count} routes", port, [command]))
    title = "The same request with few and with many routes, the last of them hit"
    return compare(bench, plan, title, contenders, [http(BULK_CONNECTIONS)])


def grpc(bench: Bench, plan: Plan) -> Outcome:
    message = bench.folder / "message"
    message.write_bytes(bytes([0, 0, 0, 0, 100]) + b"x" * 100)
    streams = f"{load.GRPC_CLIENTS} connections of {load.GRPC_STREAMS} streams"
    case = Case(streams, lambda contender, seconds: load.h2load(contender.port, seconds, message), traced=True)
    contenders = hops(bench, Protocol.GRPC) + pairs(bench, Protocol.GRPC)
    return compare(bench, plan, "Unary calls of gRPC, 100 bytes each way, plaintext and pair", contenders, [case])


def websocket(bench: Bench, plan: Plan) -> Outcome:
    def case(connections: int) -> Case:
        return Case(
            column(connections),
            lambda contender, seconds: load.messages(contender.port, connections, seconds),
            traced=connections == BULK_CONNECTIONS,
        )

    contenders = hops(bench, Protocol.WEBSOCKET) + pairs(bench, Protocol.WEBSOCKET)
    title = "Messages of WebSocket, 100 bytes, echoed; a request is a message and its echo"
    return compare(bench, plan, title, contenders, list(map(case, plan.connections)))


def tcp(bench: Bench, plan: Plan) -> Outcome:
    def case(connections: int, answer: int) -> Case:
        return Case(
            column(connections, bulk=answer == MEGABYTE),
            lambda contender, seconds: load.relayed(contender.port, connections, seconds, answer),
            traced=connections == BULK_CONNECTIONS and answer != MEGABYTE,
        )

    contenders = hops(bench, Protocol.TCP) + pairs(bench, Protocol.TCP)
    cases = [*(case(connections, 100) for connections in plan.connections), case(BULK_CONNECTIONS, MEGABYTE)]
    title = "Bytes that the proxy does not understand, relayed; a request of 100 bytes and its answer"
    return compare(bench, plan, title, contenders, cases)


def handshake(bench: Bench, plan: Plan) -> Outcome:
    """The called side alone: the load is the client."""

    def case(name: str, group: str) -> Case:
        def make(contender: Contender, seconds: int) -> load.Load:
            alpn = ALPN[contender.maker]
            as_caller = Handshake(bench.folder / "caller", peer_nginx.SERVER, alpn, group)
            return load.handshakes(contender.port, seconds, as_caller)

        return Case(name, make, traced=name == "X25519")

    # The first process of a pair is the called one.
    servers = [
        Contender(contender.maker, contender.inner or 0, contender.commands[:1])
        for contender in pairs(bench, Protocol.HTTP)
    ]
    cases = [case("X25519", "x25519"), case("X25519MLKEM768", "x25519mlkem768")]
    title = "Full mutual handshakes of TLS 1.3 with P-256 leaves, each on a new connection, the server's side"
    return compare(bench, plan, title, servers, cases)


def latency(bench: Bench, plan: Plan) -> Outcome:
    direct = Contender(rounds.DIRECT, bench.origins[Protocol.HTTP][0], [])
    contenders = pairs(bench, Protocol.HTTP)
    plan = Plan(plan.rounds, max(plan.seconds, LEAST_LATENCY_SECONDS), plan.connections, plan.idle, None)
    with running(contenders, bench.folder / "log"):
        for contender in contenders:
            if why := rounds.warm(http(BULK_CONNECTIONS), contender):
                raise RuntimeError(f"{contender.name} does not serve: {why}")
        envoy = [contender for contender in contenders if contender.maker == "envoy"]
        # The best of some: what else the machine did must not make the goal easier.
        tries = [
            load.wrk(one.port, BULK_CONNECTIONS, plan.seconds).requests for one in envoy for _ in range(plan.rounds)
        ]
        knee = max(tries, default=0)
        rate = KNEE_SHARE * knee / plan.seconds if knee else RATE_WITHOUT_ENVOY
        rows = rounds.latency([direct, *contenders], rate, plan)
    title = f"Open loop, {rate:.0f} requests a second on {BULK_CONNECTIONS} connections"
    share = f", {KNEE_SHARE:.0%} of what the Envoy pair can do" if knee else ""
    return Outcome(f"{title}{share}. Added to direct, µs (direct itself: as it is)", rows)


def memory(bench: Bench, plan: Plan) -> Outcome:
    """Before any load: what a load leaves behind in an allocator would hide what an idle connection costs."""
    contenders = hops(bench, Protocol.HTTP) + many_services(bench) + pairs(bench, Protocol.HTTP)
    rows: Rows = {}
    with running(contenders, bench.folder / "log") as pids:
        for contender in contenders:
            mine = pids[contender.name]
            idle = measure.resident_kilobytes(mine)
            connections = measure.idle_connections(contender.port, HOST, plan.idle)
            each = (measure.resident_kilobytes(mine) - idle) / plan.idle
            rows[contender.name] = {"idle MB": Row([idle / 1024]), "KB an idle connection": Row([each])}
            for connection in connections:
                connection.close()
    return Outcome(f"Resident memory; {plan.idle} idle connections that carried a request each", rows)


def many_services(bench: Bench) -> list[Contender]:
    origins, names = bench.origins[Protocol.HTTP], tuple(f"service-{number}" for number in range(SERVICES))
    port = bench.port()
    side = ours.Caller(port, bench.port(), [ours.plaintext(origin) for origin in origins], services=names)
    command = ours.command(bench.folder, "services", ours.caller(bench.root, side), "caller")
    found = [Contender(f"plait {SERVICES} services", port, [command])]
    if peer_envoy.binary():
        port = bench.port()
        command = peer_envoy.many_services(bench.folder, port, origins, list(names))
        found.append(Contender(f"envoy {SERVICES} services", port, [command]))
    return found


def plugins(bench: Bench, plan: Plan) -> Outcome:
    contenders = filters.contenders(bench)
    with running(contenders, bench.folder / "log") as pids:
        rows, calls = rounds.cpu(contenders, filters.cases(plan.connections), pids, plan)
    title = "What a filter adds to the same proxy without one, whose row stands as it is; a filter's ratio is to Lua's"
    return Outcome(f"{title}. CPU µs a request", filters.added(rows), calls, filters.against(contenders))


GROUPS: dict[str, Callable[[Bench, Plan], Outcome]] = {
    "hop": hop,
    "pair": pair,
    "routes": routes,
    "grpc": grpc,
    "websocket": websocket,
    "tcp": tcp,
    "handshake": handshake,
    "latency": latency,
    "memory": memory,
    "plugins": plugins,
}
