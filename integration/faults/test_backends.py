"""One of three places answers badly: it is left out, and comes back by itself (row 11 of docs/faults.md)."""

from pathlib import Path

import pytest
from origins import Mood
from plait_sdk.contracts import service_pb2
from rig import Rig, running, until
from scale import Scale
from told import milliseconds

pytestmark = pytest.mark.fault

BAD = ("alpha-1", "beta-1")
BAD_SHARE = 0.05
"""Of all requests: so many may go to a bad place GRACE_SECONDS after its first failures can be seen."""
GRACE_SECONDS = 2.0
EJECTED_SECONDS = 10
"""The default, as the other numbers are."""
BACK_SECONDS = 90.0
"""Each ejection is twice as long as the one before."""
BACKEND = service_pb2.BackendTraffic(
    outlier_detection=service_pb2.OutlierDetection(
        consecutive_failures=5, base_ejection=milliseconds(EJECTED_SECONDS * 1000), max_ejected_percent=50
    )
)


@pytest.mark.parametrize("mood", [Mood.ERROR, Mood.HANG])
async def test_a_bad_place_is_left_out(folder: Path, scale: Scale, mood: Mood) -> None:
    timeout = scale.timeout_seconds if mood is Mood.HANG else 0.0
    calls = service_pb2.CallTraffic(request_timeout=milliseconds(int(timeout * 1000)) if timeout else None)
    async with running(folder, backend=BACKEND, calls=calls) as rig, rig.load(scale.rate, scale.seed) as load:
        await load.phase("before", scale.seconds(0.2))
        await load.turn("noticing")
        rig.origins.moods = dict.fromkeys(BAD, mood)
        await load.phase("noticing", timeout + GRACE_SECONDS)
        first = asked(rig)
        await load.phase("during", scale.seconds(0.5))
        share = (asked(rig) - first) / sum(call.phase == "during" for call in load.calls)
        await load.turn("coming back")
        rig.origins.moods = {}
        first = asked(rig)
        back = await until(lambda: asked(rig) > first + 10, "bad places are asked again", BACK_SECONDS)
        await load.turn("after")
        await load.phase("after", scale.seconds(0.1))
    table = load.table()
    print(f"{share:.1%} went to bad places; back after {back:.1f} s\n{table}")
    assert not load.silent_faults(), table
    assert share <= BAD_SHARE, table
    assert not load.bad("before"), table
    assert not load.bad("after"), table


def asked(rig: Rig) -> int:
    """How many requests reached a bad place so far."""
    return sum(rig.origins.reached[place] for place in BAD)
