"""A machine vanishes without a word: nobody waits for it for long, on either side (row 12 of docs/faults.md).

The machine is a network namespace, and what goes to it and comes from it is dropped on its way; that needs root.
"""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from plait_sdk.contracts import service_pb2
from rig import Rig, running, until
from scale import Scale
from told import Far, milliseconds

pytestmark = pytest.mark.fault

PLACES = ("alpha-2", "beta-2")
DETECTED_SECONDS = 20.0
"""By the sidecar of the caller. The called one may need it twice: until it last had something to say, and then."""
SLACK_SECONDS = 5.0
"""For a busy machine."""


class Machine:
    """A network namespace behind another, which forwards between it and ours: what is lost there is lost on its way."""

    def __init__(self) -> None:
        self.way, self.name = (f"plait-{secrets.token_hex(3)}-{end}" for end in "wm")
        network = f"10.{secrets.randbelow(200) + 30}.{secrets.randbelow(250)}"
        self.ours, self.theirs = f"{network}.1", f"{network}.6"
        self.far = Far(PLACES, ("ip", "netns", "exec", self.name), self.theirs, self.ours)
        ip("netns", "add", self.way)
        ip("netns", "add", self.name)
        near, far = self.way.replace("-", "")[-12:], self.name.replace("-", "")[-12:]
        ip("link", "add", near, "type", "veth", "peer", "name", "near", "netns", self.way)
        ip("-n", self.way, "link", "add", "far", "type", "veth", "peer", "name", far, "netns", self.name)
        for place, link, address in (
            ((), near, self.ours),
            (("-n", self.way), "near", f"{network}.2"),
            (("-n", self.way), "far", f"{network}.5"),
            (("-n", self.name), far, self.theirs),
        ):
            ip(*place, "address", "add", f"{address}/30", "dev", link)
            ip(*place, "link", "set", link, "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "route", "add", "default", "via", f"{network}.5")
        ip("route", "add", f"{network}.4/30", "via", f"{network}.2")
        ip("netns", "exec", self.way, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def vanish(self) -> None:
        """Nothing goes in or out from now on, and nobody is told."""
        for address in (self.ours, self.theirs):
            ip("-n", self.way, "route", "add", "blackhole", f"{address}/32")

    def appear(self) -> None:
        """It is there again."""
        for address in (self.ours, self.theirs):
            ip("-n", self.way, "route", "del", "blackhole", f"{address}/32")

    def remove(self) -> None:
        for name in (self.way, self.name):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Another machine."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip (Debian: apt install iproute2) for a network namespace")
    try:
        ip("netns", "add", "plait-probe")
        ip("netns", "del", "plait-probe")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"there are no network namespaces here: {error.stderr.strip()}")
    found = Machine()
    yield found
    found.remove()


def connections(rig: Rig, proxy: str, address: str) -> list[dict[str, object]]:
    """Connections between proxies that one of them holds with a machine."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(rig.folder / f"{proxy}.sock")), timeout=20) as client:
        found = json.loads(client.get("http://admin/connections").text)
    return [one for one in found if str(one["address"]).startswith(f"{address}:")]


async def test_a_machine_that_vanished_is_noticed(folder: Path, scale: Scale, machine: Machine) -> None:
    timeout = scale.timeout_seconds
    backend = service_pb2.BackendTraffic(connect_timeout=milliseconds(500))
    calls = service_pb2.CallTraffic(request_timeout=milliseconds(int(timeout * 1000)))
    async with running(folder, backend=backend, calls=calls, far=machine.far) as rig:
        async with rig.load(scale.rate, scale.seed) as load:
            await load.phase("before", scale.seconds(0.2))
            assert connections(rig, "caller", machine.far.address), "no call went to the far machine"
            await load.turn("during")
            machine.vanish()
            gone = time.monotonic()
            here = await asyncio.to_thread(until_gone, rig, "caller", machine.far.address)
            there = await asyncio.to_thread(until_gone, rig, "far", machine.far.host)
            await load.turn("without it")
            await load.phase("without it", scale.seconds(0.2))
            machine.appear()
            reached = sum(rig.origins.reached[place] for place in PLACES)
            back = await until(
                lambda: sum(rig.origins.reached[place] for place in PLACES) > reached, "it is asked again", 45
            )
            await load.turn("after")
            await load.phase("after", scale.seconds(0.1))
        table = load.table()
        print(f"noticed by the caller's sidecar after {here - gone:.1f} s, by its own after {there - gone:.1f} s")
        print(f"asked again {back:.1f} s after its return\n{table}")
        assert here - gone <= DETECTED_SECONDS + SLACK_SECONDS, table
        assert there - gone <= 2 * DETECTED_SECONDS + SLACK_SECONDS, table
        assert not load.silent_faults(), table
        longest = max(call.ended - call.began for call in load.calls)
        assert longest <= timeout + SLACK_SECONDS, (longest, table)
        assert not load.bad("before"), table
        assert not load.bad("without it"), table
        assert not load.bad("after"), table


def until_gone(rig: Rig, proxy: str, address: str) -> float:
    """When a proxy no longer held a connection that had been there; gives up at three times the promise."""
    deadline = time.monotonic() + 3 * DETECTED_SECONDS
    while connections(rig, proxy, address) and time.monotonic() < deadline:
        time.sleep(0.1)
    return time.monotonic()
