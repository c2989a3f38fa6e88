"""The claims on routing: weights are measured, a header decides."""

import asyncio
import math

from plait_cli.demo.claims.result import Length, Result, losses, none_lost
from plait_cli.demo.probe import get
from plait_cli.demo.stage import Stage

SHARE_OF_V2 = 0.10
# A fair split leaves this many standard deviations once in a hundred thousand runs.
DEVIATIONS = 4.42
TESTS = 100


async def split(stage: Stage, length: Length) -> Result:
    """Of the calls to reviews without the header 10 % reach v2, within the bounds of the binomial distribution."""
    calls = [call for call in await stage.observe(length.split) if call.kind == "reviews"]
    total = len(calls)
    second = sum(call.version == "v2" for call in calls)
    share = second / total if total else 0.0
    bound = DEVIATIONS * math.sqrt(SHARE_OF_V2 * (1 - SHARE_OF_V2) / total) if total else 0.0
    measured = f"{100 * (1 - share):.1f} % v1, {100 * share:.1f} % v2 ({total:,} requests, bound ± {100 * bound:.1f} %)"
    if not none_lost(calls):
        return Result(False, f"{measured}; {losses(calls)}")
    return Result(abs(share - SHARE_OF_V2) <= bound, measured)


async def header(stage: Stage, length: Length) -> Result:
    """Every call with x-tester: yes reaches v2."""
    url = "http://reviews/reviews/7"
    answers = [await asyncio.to_thread(get, 18201, url, {"x-tester": "yes"}) for _ in range(TESTS)]
    hits = sum(answer.status == 200 and answer.headers.get("x-version") == "v2" for answer in answers)
    return Result(hits == TESTS, f"{100 * hits / TESTS:.0f} % v2 ({TESTS} requests)")
