"""The claims on changes: routes move under load and lose nothing; a mistake changes nothing and is named."""

import asyncio
import statistics
import time
from collections.abc import Iterator

from plait_cli.client import Api
from plait_cli.demo.claims.result import Length, Result, losses, none_lost
from plait_cli.demo.stage import Stage

CHANGES_PER_SECOND = 10
LIVE_SECONDS = 5.0

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


def versions() -> Iterator[str]:
    """Route files without end: the order of the rules turns, the weights move; each differs from the one before."""
    number = 0
    while True:
        second = 10 + number % 41
        everyone = EVERYONE.format(first=100 - second, second=second)
        yield HEAD + (TESTERS + everyone if number % 2 else everyone + TESTERS)
        number += 1


async def route_changes(stage: Stage, length: Length) -> Result:
    """Rules are reordered and weights moved ten times a second under load: no call is lost, testers always reach v2."""
    original = stage.read("routes.yaml")
    began = time.monotonic()
    delays: list[float] = []
    texts = versions()
    changes = 0
    try:
        while time.monotonic() - began < length.changes:
            due = began + changes / CHANGES_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            generation = await generation_of(stage)
            stage.edit("routes.yaml", next(texts))
            changes += 1
            delays.append(await live_after(stage, generation))
    finally:
        stage.edit("routes.yaml", original)
    calls = await stage.since(began, 1.0)
    strays = sum(call.kind == "tester" and call.version != "v2" for call in calls)
    rate = changes / length.changes
    slowest = max(delays)
    holds = none_lost(calls) and not strays and slowest < 1.0
    live = f"each live in {1000 * statistics.median(delays):.0f} ms (median), {1000 * slowest:.0f} ms at most"
    return Result(holds, f"{changes} changes, {rate:.1f} a second; {losses(calls)}; {strays} testers astray; {live}")


async def generation_of(stage: Stage) -> int:
    """What web's sidecar serves."""
    return int((await asyncio.to_thread(stage.admin("web-1").config))["generation"])


async def live_after(stage: Stage, generation: int) -> float:
    """Seconds until web's sidecar serves something newer."""
    began = time.monotonic()
    while time.monotonic() - began < LIVE_SECONDS:
        if await generation_of(stage) > generation:
            break
        await asyncio.sleep(0.005)
    return time.monotonic() - began


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
    deadline = time.monotonic() + LIVE_SECONDS
    api = Api(stage.mesh)
    while time.monotonic() < deadline:
        for entry in await asyncio.to_thread(api.objects):
            for problem in entry["problems"]:
                if entry["status"] != "Accepted":
                    file = str(problem["file"]).rpartition("/")[2]
                    return f"{file}:{problem['line']}", f"{problem['path']}: {problem['message']}"
        await asyncio.sleep(0.05)
    return "nothing", "no problem was reported"
