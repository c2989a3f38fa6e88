"""Places come and go under load: killed, drained, all gone and back (rows 9 and 10 of docs/faults.md)."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from openloop import Call, Load
from rig import Rig, running
from scale import Scale

pytestmark = pytest.mark.fault

PLACES = 100
CHANGES_A_SECOND = 30
AWAY_SECONDS = 1.0
"""A place that went comes back after this."""
NOTICE_SECONDS = 0.2
"""The control plane learns so late that a place was killed."""
MEGABYTES = 24
"""More memory than this is no noise of an allocator."""
FAIL_FAST_SECONDS = 3.0
BACK_SECONDS = 1.0


class Churn:
    """Kills and drains places in turn. `killed`: which, and when."""

    def __init__(self, rig: Rig, load: Load, seed: int) -> None:
        self.rig, self.load = rig, load
        self.random = random.Random(seed)
        self.there = set(rig.places)
        self.killed: list[tuple[str, float]] = []
        self.drained = 0
        self._told: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> None:
        """For so long, and until every place is back."""
        publishing = asyncio.create_task(self._publish())
        began, turns = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            await asyncio.sleep(max(0.0, began + turns / CHANGES_A_SECOND - time.monotonic()))
            turns += 1
            # Also on a machine that is too busy for the rate, one of each Service stays.
            choice = sorted(self.there - {"alpha-0", "beta-0"})
            if len(choice) < PLACES // 4:
                continue
            self.there.discard(name := self.random.choice(choice))
            self._tasks.add(task := asyncio.create_task(self._kill(name) if turns % 2 else self._drain(name)))
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)
        publishing.cancel()

    async def _publish(self) -> None:
        """As a control plane does it: what changed within a moment is one change."""
        while True:
            await asyncio.sleep(NOTICE_SECONDS / 2)
            if told := self._told:
                self._told = []
                await self.rig.push(self.there)
                for future in told:
                    future.set_result(None)

    async def _publishes(self) -> None:
        """Resolves when the caller's sidecar knows which places there are now."""
        future = asyncio.get_running_loop().create_future()
        self._told.append(future)
        await future

    async def _kill(self, name: str) -> None:
        gate = self.rig.places[name].gate
        own = gate.target
        self.killed.append((name, time.monotonic()))
        gate.kill()
        # Its address is another's before anybody hears of it: that of a place of the other Service.
        gate.target = self.rig.places["beta-0" if name.startswith("alpha") else "alpha-0"].sidecar
        await gate.open()
        await asyncio.sleep(NOTICE_SECONDS)
        await self._publishes()
        await asyncio.sleep(AWAY_SECONDS)
        gate.kill()
        gate.target = own
        await self._back(name)

    async def _drain(self, name: str) -> None:
        await self._publishes()
        self.drained += 1
        await self.load.answered(self.load.under_way())
        self.rig.places[name].gate.kill()
        await asyncio.sleep(AWAY_SECONDS)
        await self._back(name)

    async def _back(self, name: str) -> None:
        await self.rig.places[name].gate.open()
        self.there.add(name)
        await self._publishes()

    def unexcused(self) -> list[tuple[Call, str]]:
        """Requests that were lost though they were not under way at a place when it was killed, and where they went."""
        lines = self.rig.log("caller")
        places = {int(str(line["trace_id"]), 16) - 1: str(line["endpoint"]) for line in lines}
        lost = [(call, places.get(call.number, "")) for call in self.load.bad()]
        return [(call, place) for call, place in lost if not self._excused(call, place)]

    def _excused(self, call: Call, place: str) -> bool:
        for name, when in self.killed:
            # A sidecar that is slow to read of the reset sends to who is gone, until the place is back at the latest.
            if place == f"bench/{name}" and call.began <= when + AWAY_SECONDS and call.ended >= when:
                return True
        return False


async def test_endpoints_come_and_go(folder: Path, scale: Scale) -> None:
    async with running(folder, alpha=PLACES * 4 // 5, beta=PLACES // 5) as rig:
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("before", scale.seconds(0.2))
            await load.turn("during")
            churn = Churn(rig, load, scale.seed)
            await churn.run(scale.seconds(0.2))
            settled = rig.residue("caller")
            await churn.run(scale.seconds(0.4))
            await load.phase("after", scale.seconds(0.2))
        table = load.table()
        print(f"killed {len(churn.killed)}, drained {churn.drained}\n{table}")
        await asyncio.sleep(0.2)  # the access log is written in batches of 10 ms
        assert not load.silent_faults(), table
        assert not churn.unexcused(), (churn.unexcused()[:5], table)
        assert not load.bad("before"), table
        assert not load.bad("after"), table
        left = rig.residue("caller")
        print(f"{settled}\n{left}")
        assert left.resident_kilobytes < settled.resident_kilobytes + MEGABYTES * 1024, (settled, left)
        assert left.in_flight == 0, left
        assert left.panics == 0, left


async def test_all_endpoints_go_and_come_back(folder: Path, scale: Scale) -> None:
    async with running(folder) as rig:
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("before", scale.seconds(0.2))
            await load.turn("going")
            await rig.push([])
            await load.phase("during", scale.seconds(0.4))
            await load.turn("coming")
            await rig.push(rig.places)
            await load.phase("coming back", BACK_SECONDS)
            await load.phase("after", scale.seconds(0.2))
        refusals = [line for line in rig.log("caller") if line["reason"] == "no_ready_endpoint"]
    table = load.table()
    # By the sidecar's clock: how late this process is, when the machine is busy, is not its doing.
    slowest = max(float(str(line["duration_ms"])) for line in refusals) / 1000
    print(f"slowest refusal {slowest * 1000:.1f} ms\n{table}")
    during = [call for call in load.calls if call.phase == "during"]
    assert not load.silent_faults(), table
    # httpx gives an answer away that comes while it still sends.
    others = [call for call in during if call.status != 503 and call.kind != "http2"]
    assert not others, (others, table)
    assert slowest < FAIL_FAST_SECONDS, table
    assert not load.bad("before"), table
    assert not load.bad("after"), table
