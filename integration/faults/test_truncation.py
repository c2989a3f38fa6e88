"""Connections break within an answer: the caller always sees that, and they are not used again (row 13)."""

from pathlib import Path

import pytest
from origins import Mood
from rig import running
from scale import Scale

pytestmark = pytest.mark.fault

BREAKS = 20


async def test_a_reset_within_an_answer_never_looks_like_its_end(folder: Path, scale: Scale) -> None:
    """By the process (behind the called sidecar), and by the machine of the called sidecar as a whole."""
    async with running(folder) as rig:
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("before", scale.seconds(0.2))
            await load.turn("process")
            rig.origins.moods = {"alpha-0": Mood.CUT, "alpha-1": Mood.CUT}
            await load.phase("process", scale.seconds(0.3))
            await load.turn("machine")
            rig.origins.moods = {}
            for _ in range(BREAKS):
                for name in ("alpha-2", "beta-2"):
                    rig.places[name].gate.kill()
                    await rig.places[name].gate.open()
                await load.phase("machine", scale.seconds(0.3) / BREAKS)
            await load.turn("after")
            await load.phase("after", scale.seconds(0.2))
        table = load.table()
        left = rig.residue("caller"), rig.residue("called")
        print(f"{left}\n{table}")
        assert load.bad("process"), table
        assert not load.silent_faults(), table
        assert not load.bad("before"), table
        # A connection that broke and was used again would fail here.
        assert not load.bad("after"), table
        assert [(one.in_flight, one.panics) for one in left] == [(0, 0), (0, 0)], left
