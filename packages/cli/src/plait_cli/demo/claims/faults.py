"""The claims on faults: a part that dies costs no request that others could answer."""

import asyncio
import time

from plait_cli.demo.claims.result import Length, Result, losses, none_lost
from plait_cli.demo.probe import get
from plait_cli.demo.stage import Stage
from plait_cli.errors import Failure
from plait_cli.prometheus import parse, select

VICTIM = "reviews-v1-1"
RESTART_SECONDS = 10.0


async def instance_killed(stage: Stage, length: Length) -> Result:
    """One of two instances of reviews-v1 dies under load; its sidecar says so, the caller's goes elsewhere."""
    before = await asyncio.to_thread(unreachable, stage)
    began = time.monotonic()
    stage.applications[VICTIM].kill(hold=True)
    try:
        calls = await stage.since(began, length.fault)
        rejects = await asyncio.to_thread(unreachable, stage) - before
    finally:
        stage.applications[VICTIM].release()
    await wait_for_answer_of(stage, VICTIM)
    calls += await stage.since(time.monotonic(), 1.0)
    holds = none_lost(calls) and rejects > 0
    return Result(holds, f"{losses(calls)}; {rejects:.0f} rejects said that nothing was delivered and went elsewhere")


def unreachable(stage: Stage) -> float:
    """Rejects of the victim's sidecar because its process does not take connections."""
    samples = parse(stage.admin(VICTIM).metrics())
    return sum(
        value
        for labels, value in select(samples, "plait_rejects_total")
        if labels.get("reason") == "upstream_unreachable"
    )


async def control_plane_killed(stage: Stage, length: Length) -> Result:
    """The control plane dies; traffic goes on, and a sidecar restarted meanwhile serves from its last known good."""
    sidecar = stage.laptop.children[f"bookshop/{VICTIM}"]
    began = time.monotonic()
    stage.kill_control_plane()
    try:
        await asyncio.sleep(length.fault / 2)
        starts = sidecar.starts
        sidecar.terminate()
        source = await source_after_restart(stage, starts)
        answered = await wait_for_answer_of(stage, VICTIM)
        await asyncio.sleep(length.fault / 2)
    finally:
        stage.laptop.control.release()
    await stage.laptop.wait_ready(lambda missing: None)
    calls = await stage.since(began, 1.0)
    holds = none_lost(calls) and source == "last_known_good" and answered
    served = "answered from it" if answered else "answered nothing"
    return Result(holds, f"{losses(calls)}; a sidecar restarted meanwhile has source {source} and {served}; it is back")


async def source_after_restart(stage: Stage, starts: int) -> str:
    """Where the restarted sidecar has its configuration from."""
    sidecar = stage.laptop.children[f"bookshop/{VICTIM}"]
    deadline = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < deadline:
        if sidecar.starts > starts:
            try:
                return str((await asyncio.to_thread(stage.admin(VICTIM).config))["source"])
            except Failure:
                pass  # not up yet
        await asyncio.sleep(0.05)
    return "none: it did not come back"


async def wait_for_answer_of(stage: Stage, instance: str) -> bool:
    """Whether an instance answers calls of web within the time of a restart and an ejection."""
    deadline = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < deadline:
        answer = await asyncio.to_thread(get, 18201, "http://reviews/reviews/7")
        if answer.headers.get("x-instance") == instance:
            return True
        await asyncio.sleep(0.02)
    return False
