"""The directory over time, and the ports that are kept."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import World, world_of
from plait_controlplane.sources.ports import FREE, Ports
from plait_controlplane.sources.watch import LONGEST_MILLISECONDS, Unreadable, changes, read_whole

TEXT = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n"


async def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    with file.open("w") as writer:  # truncated: half of it is an empty file, which would remove the object
        reading = asyncio.create_task(read_whole(tmp_path))
        await asyncio.sleep(0.1)
        writer.write(TEXT.replace("name: a", "name: b"))
    assert [key[2] for key in (await reading).world.objects] == ["b"]


async def test_a_file_that_stays_open_is_read_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    with file.open("a"):
        began = asyncio.get_running_loop().time()
        assert len((await read_whole(tmp_path)).world.objects) == 1
        assert asyncio.get_running_loop().time() - began >= LONGEST_MILLISECONDS / 1000


async def test_a_folder_that_is_gone_is_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        await read_whole(tmp_path / "gone")


async def test_one_save_of_many_files_is_one_change(tmp_path: Path) -> None:
    seen = 0
    arrived = asyncio.Event()

    async def count() -> None:
        nonlocal seen
        async for _ in changes(tmp_path):
            seen += 1
            arrived.set()

    task = asyncio.create_task(count())
    async with asyncio.timeout(10):
        while not arrived.is_set():  # until the watch stands, nothing is seen
            (tmp_path / "first.yaml").write_text(TEXT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), 0.2)
        before = seen
        arrived.clear()
        for number in range(20):
            (tmp_path / f"{number}.yaml").write_text(TEXT)
        await arrived.wait()
    task.cancel()
    assert seen == before + 1


def world(*sidecars: str, address: str = "127.0.0.1") -> World:
    text = "\n---\n".join(
        f"{{apiVersion: plait.dev/v1alpha1, kind: Workload, metadata: {{name: w-{index}, namespace: shop}},"
        f" spec: {{address: '{address}', sidecar: {sidecar}}}}}"
        for index, sidecar in enumerate(sidecars)
    )
    found, problems = read("w.yaml", text)
    assert not problems, problems
    return world_of(found)[0]


def test_free_ports_are_chosen_once(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = Ports(file).listeners(world("{}", "{inbound: '127.0.0.1:7000'}"))
    assert first == Ports(file).listeners(world("{}", "{inbound: '127.0.0.1:7000'}"))
    assert first["shop/w-1"].inbound == "127.0.0.1:7000"
    chosen = json.loads(file.read_text())
    assert sorted(chosen) == ["inbound shop/w-0", "outbound shop/w-0", "outbound shop/w-1"]
    assert len(set(chosen.values()) & set(FREE)) == 3


@pytest.mark.parametrize(
    ("address", "inbound", "outbound"),
    [("10.0.0.7", "10.0.0.7:15006", "127.0.0.1:15001"), ("fd00::7", "[fd00::7]:15006", "127.0.0.1:15001")],
)
def test_elsewhere_ports_are_the_usual_ones(tmp_path: Path, address: str, inbound: str, outbound: str) -> None:
    found = Ports(tmp_path / "ports.json").listeners(world("{}", address=address))["shop/w-0"]
    assert (found.inbound, found.outbound) == (inbound, outbound)
    assert not (tmp_path / "ports.json").exists()


def test_the_control_plane_keeps_its_own_two(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    assert ports.own("discovery", "127.0.0.1") != ports.own("identity", "127.0.0.1")
    assert Ports(tmp_path / "ports.json").own("identity", "::1") == "[::1]:" + ports.own("identity", "127.0.0.1")[10:]
