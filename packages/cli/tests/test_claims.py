"""The claims of the demo against measurements that are made up: each must be able to fail."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from plait_cli.demo.claims import encryption, policy, routing
from plait_cli.demo.claims.result import Length, Result, losses
from plait_cli.demo.probe import Answer
from plait_cli.demo.stage import Call

LENGTH = Length(split=1.0, changes=1.0, fault=1.0)
WEB = encryption.IDENTITY.format("web")


class Made:
    """A stage whose measurements are given."""

    def __init__(self, calls: list[Call] | None = None, connections: dict[str, list[dict[str, Any]]] | None = None):
        self.calls = calls or []
        self.connections = connections or {}

    async def observe(self, seconds: float) -> list[Call]:
        return self.calls

    def admin(self, workload: str) -> Any:
        class Admin:
            def connections(_) -> list[dict[str, Any]]:
                return self.connections.get(workload, [])

        return Admin()


def check(claim: Callable[..., Any], stage: Made) -> Result:
    return asyncio.run(claim(stage, LENGTH))


def calls(first: int, second: int, lost: int = 0) -> list[Call]:
    def call(version: str, status: int = 200) -> Call:
        return Call("reviews", 0.0, 0.001, status, version, "", "" if status == 200 else "upstream_reset")

    return [call("v1")] * first + [call("v2")] * second + [call("", 502)] * lost


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        (calls(3600, 400), True),
        (calls(3660, 340), True),
        (calls(3300, 700), False),
        (calls(4000, 0), False),
        (calls(3600, 400, lost=1), False),
        ([], False),
    ],
)
def test_a_split_holds_within_the_bounds_of_chance(made: list[Call], holds: bool) -> None:
    assert check(routing.split, Made(made)).holds is holds


def answer(status: int, body: str = "", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (answer(200, x_version="v2"), True),
        (answer(200, x_version="v1"), False),
        (answer(503, x_version="v2"), False),
    ],
)
def test_testers_reach_v2_alone(found: Answer, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "get", lambda *_: found)
    assert check(routing.header, Made()).holds is holds


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (answer(403, "AuthorizationPolicy bookshop/ledger-clients", plait_reason="policy_denied"), True),
        (answer(403, "policy_denied", plait_reason="policy_denied"), False),
        (answer(403, "AuthorizationPolicy bookshop/ledger-clients", plait_reason="unauthenticated"), False),
        (answer(200, "AuthorizationPolicy bookshop/ledger-clients", plait_reason="policy_denied"), False),
    ],
)
def test_a_denial_names_reason_and_policy(found: Answer, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "get", lambda *_: found)
    assert check(policy.unauthorised_caller, Made()).holds is holds


def connected(**other: str) -> dict[str, list[dict[str, Any]]]:
    """Every edge as it should be but for what is said of those that enter catalog-1."""
    good = {"tls": "TLSv1_3", "group": encryption.GROUP}
    found: dict[str, list[dict[str, Any]]] = {"web-1": []}
    for workload, account in encryption.CALLED.items():
        found["web-1"].append({"direction": "outbound", "identity": encryption.IDENTITY.format(account), **good})
        found[workload] = [{"direction": "inbound", "identity": WEB, **good}]
    found["catalog-1"][0].update(other)
    return found


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        (connected(), True),
        (connected(identity=encryption.IDENTITY.format("catalog")), False),
        (connected(identity=""), False),
        (connected(tls="TLSv1_2"), False),
        (connected(group="X25519"), False),
        (connected() | {"catalog-1": []}, False),
        (connected() | {"web-1": []}, False),
    ],
    ids=["good", "another caller", "plaintext", "old TLS", "weaker group", "no edge seen inside", "none seen outside"],
)
def test_every_edge_must_be_strong_and_known_at_both_ends(
    made: dict[str, list[dict[str, Any]]], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "SETTLED_SECONDS", 0.0)
    assert check(encryption.every_edge_encrypted, Made(connections=made)).holds is holds


def test_losses_are_told_with_their_commonest_cause() -> None:
    assert losses(calls(9, 1)) == "0 of 10 requests lost"
    assert losses(calls(9, 0, lost=1)) == "1 of 10 requests lost (1 x 'reviews 502 upstream_reset')"
