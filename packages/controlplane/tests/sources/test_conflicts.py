"""Routes of two kinds on one port of a Service: one gives way, is told so, and takes effect when the other goes."""

import pytest
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.sources.lastgood import Settled, settle

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}, {port: 81}]}\n"


def route(kind: str, *ports: int) -> str:
    refs = ", ".join(f'{{group: "", kind: Service, name: a, port: {port}}}' for port in ports)
    refs = refs or '{group: "", kind: Service, name: a}'
    hostnames = "hostnames: [a.example], " if kind == "TLSRoute" else ""
    spec = f"parentRefs: [{refs}], {hostnames}rules: [{{backendRefs: [{{name: a, port: 80}}]}}]"
    name = kind.lower()
    return f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def settled(before: Settled, *documents: str) -> Settled:
    found, problems = read("routes.yaml", "---\n".join([SERVICE, *documents]))
    assert problems == []
    return settle(before, world_of(found)[0], [], [])


def told(now: Settled, kind: str) -> tuple[str, list[str]]:
    verdict = next(verdict for verdict in now.verdicts if verdict.kind == kind)
    return verdict.state, [f"{one.severity} {one.path} {one.message.partition(':')[0]}" for one in verdict.problems]


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        ("GRPCRoute", "HTTPRoute"),
        ("GRPCRoute", "TLSRoute"),
        ("GRPCRoute", "TCPRoute"),
        ("HTTPRoute", "TLSRoute"),
        ("HTTPRoute", "TCPRoute"),
        ("TLSRoute", "TCPRoute"),
    ],
)
def test_a_route_that_gives_way_is_refused_until_the_other_goes(winner: str, loser: str) -> None:
    alone = settled(Settled(), route(loser))
    assert told(alone, loser) == ("Accepted", [])
    both = settled(alone, route(loser), route(winner))
    assert told(both, winner) == ("Accepted", [])
    assert told(both, loser) == ("Refused", ["error spec.parentRefs[0] Conflicted"])
    again = settled(both, route(loser))
    assert told(again, loser) == ("Accepted", [])


def test_a_route_that_keeps_a_port_is_accepted_and_told() -> None:
    both = settled(Settled(), route("HTTPRoute"), route("GRPCRoute", 81))
    assert told(both, "HTTPRoute") == ("Accepted", ["note spec.parentRefs[0] Conflicted"])
    apart = settled(both, route("HTTPRoute", 80), route("GRPCRoute", 81))
    assert [told(apart, kind) for kind in ("HTTPRoute", "GRPCRoute")] == [("Accepted", [])] * 2
    one_of_two = settled(both, route("TCPRoute", 80, 81), route("GRPCRoute", 81))
    assert told(one_of_two, "TCPRoute") == ("Accepted", ["error spec.parentRefs[1] Conflicted"])
