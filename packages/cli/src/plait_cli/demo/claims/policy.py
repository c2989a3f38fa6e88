"""The claims on policy: who may not is told why; in DryRun the same caller passes and is counted."""

import asyncio
import time
from collections.abc import Callable

from plait_cli.demo.claims.result import Length, Result
from plait_cli.demo.probe import Answer, get
from plait_cli.demo.stage import Stage
from plait_cli.prometheus import parse, select

CATALOG = 18202
POLICY = "bookshop/ledger-clients"
REVIEWS = ("reviews-v1-1", "reviews-v1-2", "reviews-v2-1")
LIVE_SECONDS = 5.0
DRY_CALLS = 20


async def unauthorised_caller(stage: Stage, length: Length) -> Result:
    """catalog may not reach the ledger: 403, the reason, the policy's name."""
    answer = await asyncio.to_thread(get, CATALOG, "http://ledger:7000/")
    reason = answer.headers.get("plait-reason", "")
    holds = answer.status == 403 and reason == "policy_denied" and POLICY in answer.body
    named = f"AuthorizationPolicy {POLICY}" if POLICY in answer.body else answer.body.strip()[:200]
    return Result(holds, f"{answer.status} {reason}, {named}")


async def dry_run(stage: Stage, length: Length) -> Result:
    """catalog may not read reviews; with the policy in DryRun it may, and each call is counted."""
    denied = await read_reviews()
    original = stage.read("policies.yaml")
    before = await asyncio.to_thread(counted, stage)
    stage.edit("policies.yaml", original.replace("mode: Enforce", "mode: DryRun", 1))
    try:
        await read_until(lambda status: status == 200)
        await asyncio.sleep(0.2)  # every instance has it by then, or the count below tells
        answers = [await read_reviews() for _ in range(DRY_CALLS)]
        after = await asyncio.to_thread(counted, stage)
    finally:
        stage.edit("policies.yaml", original)
    again = await read_until(lambda status: status != 200)
    passed = sum(answer.status == 200 for answer in answers)
    holds = denied.status == 403 and passed == DRY_CALLS and after - before >= DRY_CALLS and again.status == 403
    measured = f"{denied.status} enforced; in DryRun {passed} of {DRY_CALLS} pass, {after - before:.0f} counted"
    measured += f"; {again.status} again"
    return Result(holds, measured)


async def read_reviews() -> Answer:
    """A call that reviews-readers allows only to web, made as catalog."""
    return await asyncio.to_thread(get, CATALOG, "http://reviews/reviews/7")


async def read_until(wanted: Callable[[int], bool]) -> Answer:
    """Calls until the status is as wanted, within the time a change may take; returns the last answer."""
    deadline = time.monotonic() + LIVE_SECONDS
    while True:
        answer = await read_reviews()
        if wanted(answer.status) or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(0.05)


def counted(stage: Stage) -> float:
    """Calls that a dry run would have denied, at all instances of reviews."""
    samples = (parse(stage.admin(name).metrics()) for name in REVIEWS)
    return sum(
        value
        for sample in samples
        for labels, value in select(sample, "plait_policy_dry_run_total")
        if labels.get("verdict", "").lower().startswith("den")
    )
