"""Sidecars are told to end under load: nothing is lost, and they end in time (rows 23 and 24 of docs/faults.md)."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from origins import Mood
from rig import Rig, running, terminate, until
from scale import Scale
from told import Far

pytestmark = pytest.mark.fault

GRACE_SECONDS = 30.0
AT_ONCE_SECONDS = 2.0
OTHER = Far(("alpha-2", "beta-2"), (), "127.0.0.1", "127.0.0.1")
"""A second sidecar beside the first, so that each Service has a place where no sidecar ends."""


@pytest.mark.parametrize("proxy", ["called", "far"])
async def test_a_called_sidecar_is_replaced(folder: Path, scale: Scale, proxy: str) -> None:
    """Nobody says before that its places go: their callers find out, and go elsewhere."""
    async with running(folder, far=OTHER) as rig, rig.load(scale.rate, scale.seed) as load:
        await load.phase("before", scale.seconds(0.2))
        await load.turn("during")
        took = await terminate(rig.processes[proxy], GRACE_SECONDS)
        code = rig.processes[proxy].returncode
        await load.phase("during", scale.seconds(0.2))
        rig.run_called(proxy)
        reached = rig.origins.reached.copy()
        own = [place.name for place in rig.places.values() if bool(place.far) == (proxy == "far")]
        back = await until(
            lambda: all(rig.origins.reached[name] > reached[name] for name in own), "all its places are asked again", 45
        )
        await load.turn("after")
        await load.phase("after", scale.seconds(0.2))
    table = load.table()
    print(f"ended after {took:.1f} s with {code}; asked again {back:.1f} s after its successor began\n{table}")
    assert not load.silent_faults(), table
    assert not load.bad(), table
    assert code == 0, rig.show()


async def test_the_sidecar_of_the_callers_is_replaced(folder: Path, scale: Scale) -> None:
    """Its application is refused until the successor listens, and dials again: all else is answered.

    httpx gives up its streams when it is told that no new ones are taken, whatever is said of them: gRPC is our HTTP/2.
    """
    async with running(folder, far=OTHER) as rig:
        rig.callers = [(caller, share) for caller, share in rig.callers if caller.name != "http2"]
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("before", scale.seconds(0.2))
            await load.phase("during")
            for _ in range(3 if scale.full else 1):
                took = await terminate(rig.processes["caller"], GRACE_SECONDS)
                code = rig.processes["caller"].returncode
                rig.run_caller()
                await rig.serves()
                await load.phase("during", scale.seconds(0.1))
            await load.turn("after")
            await load.phase("after", scale.seconds(0.2))
        table = load.table()
        refused = sum(caller.refused for caller, _ in rig.callers)
        print(f"ended after {took:.1f} s with {code}; {refused} dials were refused\n{table}")
        assert not load.silent_faults(), table
        assert not load.bad(), table
        assert code == 0, rig.show()


async def test_a_second_signal_ends_at_once(folder: Path, scale: Scale) -> None:
    async with running(folder, alpha=1, beta=1) as rig:
        rig.origins.moods = {"alpha-0": Mood.HANG, "beta-0": Mood.HANG}
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("waiting", requests=20)
            await until(lambda: rig.origins.reached["alpha-0"] and rig.origins.reached["beta-0"], "calls are under way")
            for proxy in ("caller", "called"):
                os.kill(rig.processes[proxy].pid, signal.SIGTERM)
            await asyncio.sleep(1)
            assert still_runs(rig), "nothing was under way"
            began = time.monotonic()
            for proxy in ("caller", "called"):
                await terminate(rig.processes[proxy], AT_ONCE_SECONDS)
            print(f"both ended {time.monotonic() - began:.2f} s after the second signal")
            # So that those who dial again are answered, and the load comes to its end.
            rig.origins.moods = {}
            rig.run_called("called")
            rig.run_caller()
            await rig.serves()
    assert not load.silent_faults(), load.table()


def still_runs(rig: Rig) -> bool:
    """Whether both sidecars wait for what is under way."""
    return all(rig.processes[proxy].poll() is None for proxy in ("caller", "called"))
