"""The claims of the demo against measurements that are made up: each must be able to fail."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plait_cli.demo.claims import changes, encryption, policy, routing
from plait_cli.demo.claims.result import Length, Result, losses
from plait_cli.demo.probe import Answer
from plait_cli.demo.processor import waited, waits
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


def moments(*found: tuple[float, float]) -> list[changes.Moment]:
    """Times, and what the only thread of the only process had waited by then."""
    return [changes.Moment(at, {(1, "1"): seconds}) for at, seconds in found]


@pytest.mark.parametrize(
    ("saved", "live", "holds", "told"),
    [
        (moments((0, 0), (1, 0)), moments((0.1, 0), (1.2, 0)), True, "each live in 150 ms (median), 200 ms at most"),
        (moments((0, 0), (1, 0)), moments((0.1, 0), (2.0, 0)), False, "1000 ms at most, 1000 ms at most without waits"),
        (moments((0, 5)), moments((3.0, 7.5)), True, "3000 ms at most, 500 ms at most without waits"),
        (moments((0, 5)), moments((3.0, 6.5)), False, "1500 ms at most without waits"),
        (moments((0, 0), (1, 0)), moments((0.1, 0)), False, "1 changes never got live"),
        ([], [], False, "0 changes never got live"),
    ],
    ids=["quick", "late", "kept waiting", "kept waiting and late", "never live", "no change"],
)
def test_each_change_is_live_within_a_second_of_the_meshs_own_time(
    saved: list[changes.Moment], live: list[changes.Moment], holds: bool, told: str
) -> None:
    found = changes.judged(saved, live)
    assert found[0] is holds
    assert told in found[1]


def test_waits_add_up_over_processes_and_not_over_their_threads(tmp_path: Path) -> None:
    def thread(pid: int, tid: int, nanoseconds: int) -> None:
        folder = tmp_path / f"{pid}/task/{tid}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"1 {nanoseconds} 1\n")

    thread(7, 7, 1_000_000_000)
    thread(7, 8, 5_000_000_000)
    thread(9, 9, 0)
    before = waits([7, 9, 11], tmp_path)
    thread(7, 7, 1_500_000_000)
    thread(7, 8, 5_200_000_000)
    thread(9, 9, 250_000_000)
    thread(9, 10, 9_000_000_000)  # new: what it waited before is not known
    assert waited(before, waits([7, 9, 11], tmp_path)) == pytest.approx(0.75)
