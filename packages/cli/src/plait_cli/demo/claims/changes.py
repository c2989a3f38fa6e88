"""The claims on changes: routes move under load and lose nothing; a mistake changes nothing and is named."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from plait_cli.client import Api
from plait_cli.demo.claims.result import Length, Result, losses, none_lost
from plait_cli.demo.processor import Waits, waited, waits
from plait_cli.demo.stage import Stage

CHANGES_PER_SECOND = 10
LIVE_SECONDS = 1.0
# What a busy machine keeps waiting for a processor is waited for this long behind the last change.
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.005
SHARES = 41

TESTERS = """    - name: testers
      matches:
        - headers: [{name: x-tester, value: "yes"}]
      backendRefs:
        - {name: reviews-v2, port: 80}
"""
EVERYONE = """    - name: everyone
      backendRefs:
        - {{name: reviews-v1, port: 80, weight: {first}}}
        - {{name: reviews-v2, port: 80, weight: {second}}}
      timeouts: {{request: 2s, backendRequest: 500ms}}
"""
HEAD = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: bookshop}
spec:
  parentRefs:
    - {group: "", kind: Service, name: reviews, port: 80}
  rules:
"""
MISTAKE = ("backendRefs:", "backendRefz:")


def version(number: int) -> str:
    """The route file of a change: the order of the rules turns, the weights move."""
    everyone = EVERYONE.format(first=100 - share(number), second=share(number))
    return HEAD + (TESTERS + everyone if number % 2 else everyone + TESTERS)


def share(number: int) -> int:
    """The weight of v2 after a change; tells the last `SHARES` changes apart, and all from the file as it was."""
    return 11 + number % SHARES


@dataclass(frozen=True)
class Moment:
    """When a change was saved or seen, and what its way there had waited for a processor by then."""

    at: float
    waits: Waits


async def route_changes(stage: Stage, length: Length) -> Result:
    """Rules are reordered and weights moved ten times a second under load: no call is lost, testers always reach v2."""
    original = stage.read("routes.yaml")
    began = time.monotonic()
    saved: list[Moment] = []
    live: list[Moment] = []
    pids = stage.on_the_way("web-1")
    watching = asyncio.create_task(watch(stage, pids, saved, live))
    try:
        for number in range(round(length.changes * CHANGES_PER_SECOND)):
            await asyncio.sleep(max(0.0, began + number / CHANGES_PER_SECOND - time.monotonic()))
            saved.append(Moment(time.monotonic(), waits(pids)))
            stage.edit("routes.yaml", version(number))
        took = time.monotonic() - began + 1 / CHANGES_PER_SECOND
        await asyncio.wait({watching}, timeout=PATIENCE_SECONDS)
    finally:
        watching.cancel()
        stage.edit("routes.yaml", original)
    calls = await stage.since(began, 1.0)
    strays = sum(call.kind == "tester" and call.version != "v2" for call in calls)
    told = f"{len(saved)} changes, {len(saved) / took:.1f} a second; {losses(calls)}; {strays} testers astray"
    in_time, when = judged(saved, live)
    return Result(none_lost(calls) and not strays and in_time, f"{told}; {when}")


def judged(saved: Sequence[Moment], live: Sequence[Moment]) -> tuple[bool, str]:
    """Whether each change was live within a second, and in how long.

    A busy machine holds up whoever needs a processor: what the mesh waited for one is not counted, and said.
    """
    if len(live) < len(saved) or not saved:
        return False, f"{len(saved) - len(live)} changes never got live"
    pairs = list(zip(saved, live, strict=True))
    took = [after.at - before.at for before, after in pairs]
    own = [max(0.0, after.at - before.at - waited(before.waits, after.waits)) for before, after in pairs]
    told = f"each live in {1000 * statistics.median(took):.0f} ms (median), {1000 * max(took):.0f} ms at most"
    if max(took) >= LIVE_SECONDS:
        told += f", {1000 * max(own):.0f} ms at most without waits for a processor"
    return max(own) < LIVE_SECONDS, told


async def watch(stage: Stage, pids: Sequence[int], saved: Sequence[Moment], live: list[Moment]) -> None:
    """Notes when each saved change, or one after it, decides at web's sidecar; ends when the last one does."""
    admin = stage.admin("web-1")
    while True:
        decision = await asyncio.to_thread(admin.explain, "bookshop/web-1", "GET", "http://reviews/reviews/7", [])
        now = time.monotonic()
        weights = {entry["backend"]: entry["weight"] for entry in decision["backends"]}
        newest = range(len(saved) - 1, max(len(live), len(saved) - SHARES) - 1, -1)
        found = next((number for number in newest if weights.get("bookshop/reviews-v2:80") == share(number)), None)
        if found is not None:
            live += [Moment(now, waits(pids))] * (found + 1 - len(live))
        if saved and len(live) == len(saved) and now - saved[-1].at > 2 / CHANGES_PER_SECOND:
            return
        await asyncio.sleep(POLL_SECONDS)


async def broken_yaml(stage: Stage, length: Length) -> Result:
    """A misspelt field, then half a file: nothing changes, and the mistake is reported with file and line."""
    original = stage.read("routes.yaml")
    broken = MISTAKE[1].join(original.rsplit(MISTAKE[0], 1))
    wanted = 1 + next(number for number, line in enumerate(broken.splitlines()) if MISTAKE[1] in line)
    began = time.monotonic()
    try:
        stage.edit("routes.yaml", broken)
        place, message = await reported(stage)
        stage.edit("routes.yaml", original[: len(original) // 2])
        await asyncio.sleep(1.0)
        calls = await stage.since(began, 1.0)
    finally:
        stage.edit("routes.yaml", original)
    strays = sum(call.kind == "tester" and call.version != "v2" for call in calls)
    holds = none_lost(calls) and not strays and place == f"routes.yaml:{wanted}"
    return Result(holds, f"{losses(calls)}, routes as before; reported as {place}: {message}")


async def reported(stage: Stage) -> tuple[str, str]:
    """Where the control plane reports the mistake, and in what words."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    api = Api(stage.mesh)
    while time.monotonic() < deadline:
        for entry in await asyncio.to_thread(api.objects):
            for problem in entry["problems"]:
                if entry["status"] != "Accepted":
                    file = str(problem["file"]).rpartition("/")[2]
                    return f"{file}:{problem['line']}", f"{problem['path']}: {problem['message']}"
        await asyncio.sleep(0.05)
    return "nothing", "no problem was reported"
