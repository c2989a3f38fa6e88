"""The control plane is away or says nothing: what runs goes on (rows 1, 2 and 3 of docs/faults.md)."""

import asyncio
import shutil
from pathlib import Path

import pytest
from rig import Rig, enrol, listens, running, until
from scale import Scale

pytestmark = pytest.mark.fault

SILENCE_SECONDS = 15.0
"""A stream that says nothing for so long is given up."""
SLACK_SECONDS = 5.0
AWAY_SECONDS = 5.0


async def test_the_control_plane_is_away(folder: Path, scale: Scale) -> None:
    """Meanwhile the caller's sidecar starts anew, and one place dies.

    httpx finds out only by its next request that its one connection of HTTP/2 is gone: gRPC is our HTTP/2 here.
    """
    async with running(folder) as rig, rig.load(scale.rate, scale.seed, without="http2") as load:
        await load.phase("before", scale.seconds(0.2))
        kept = folder / "caller-state" / "resources"
        await until(kept.exists, "what is in force is on disk")
        await rig.control.stop()
        await load.phase("away", scale.seconds(0.2))
        await load.turn("restart")
        rig.processes["caller"].kill()
        rig.processes["caller"].wait()
        rig.run_caller()
        await until(lambda: all(listens("127.0.0.1", port) for port in rig.binds.values()), "it serves what it knew")
        await load.turn("restarted")
        await load.phase("restarted", scale.seconds(0.1))
        await load.turn("killing")
        rig.places["alpha-1"].gate.kill()
        await load.turn("without a place")
        await load.phase("without a place", scale.seconds(0.1))
        await rig.places["alpha-1"].gate.open()
        await rig.control.start()
        await until(lambda: rig.control.streams, "it follows the control plane again")
        await load.phase("after", scale.seconds(0.2))
    table = load.table()
    print(table)
    assert not load.silent_faults(), table
    # Those under way when a process is killed are lost with it.
    assert {call.phase for call in load.bad()} <= {"restart", "killing"}, table


async def test_a_stream_that_says_nothing_is_given_up(folder: Path, scale: Scale) -> None:
    async with running(folder) as rig, rig.load(scale.rate, scale.seed) as load:
        await load.phase("before", 1)
        opened = rig.control.opened
        rig.control.speaks.clear()
        # What is not heard is not known: a place that goes now is found out by dialling it.
        rig.places["alpha-1"].gate.shut()
        latest = rig.control.put(rig.endpoints(set(rig.places) - {"alpha-1"}))
        found = await until(lambda: rig.control.opened > opened, "it dials again", SILENCE_SECONDS + SLACK_SECONDS)
        rig.control.speaks.set()
        heard = await until(lambda: all(one.acked == latest for one in rig.control.streams), "it has the latest word")
        await load.phase("after", 1)
    table = load.table()
    print(f"silence noticed after {found:.1f} s, current {heard:.1f} s after the first word\n{table}")
    assert not load.silent_faults(), table
    assert not load.bad(), table


async def test_without_anything_known_nothing_is_served(folder: Path) -> None:
    async with running(folder) as rig:
        rig.processes["caller"].kill()
        rig.processes["caller"].wait()
        await rig.control.stop()
        shutil.rmtree(folder / "caller-state")
        enrol(folder / "caller-state", folder / "caller", "bench/caller")
        rig.run_caller()
        for _ in range(int(AWAY_SECONDS / 0.1)):
            assert not serves_any(rig), "it serves without knowing what"
            await asyncio.sleep(0.1)
        await rig.control.start()
        await rig.serves()
        assert rig.processes["caller"].poll() is None


def serves_any(rig: Rig) -> bool:
    """Whether the caller's sidecar takes a connection of its application."""
    return any(listens("127.0.0.1", port) for port in rig.binds.values())
