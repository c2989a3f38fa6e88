"""The directory over time, and the ports that are kept."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import World, world_of
from plait_controlplane.sources.addresses import Addresses
from plait_controlplane.sources.directory import load
from plait_controlplane.sources.ports import FREE, Ports, numbers_in
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


async def test_a_file_that_stays_open_is_left_out_and_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    (tmp_path / "b.yaml").write_text(TEXT.replace("name: a", "name: b"))
    with file.open("a"):  # what it holds is sound YAML: only who wrote it knows whether it is all
        reading = await read_whole(tmp_path)
    assert ([key[2] for key in reading.world.objects], reading.unsettled) == (["b"], True)
    assert [(problem.file, problem.object) for problem in reading.problems] == [(str(file), "")]
    assert not (await read_whole(tmp_path)).unsettled


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    reads = 0

    def changing(directory: Path, left_out: Mapping[Path, str]) -> tuple[World, list[Problem]]:
        nonlocal reads
        reads += 1
        found = load(directory, left_out)
        if reads == 1:
            file.write_text(TEXT.replace("name: a", "name: longer"))
        return found

    monkeypatch.setattr("plait_controlplane.sources.watch.load", changing)
    assert [key[2] for key in (await read_whole(tmp_path)).world.objects] == ["longer"]
    assert reads == 2


async def test_a_folder_that_is_gone_is_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        await read_whole(tmp_path / "gone")


async def test_one_save_of_many_files_is_one_change(tmp_path: Path) -> None:
    seen = changes(tmp_path)
    async with asyncio.timeout(10):
        await anext(seen)  # the watch stands
        for number in range(20):
            (tmp_path / f"{number}.yaml").write_text(TEXT)
        await anext(seen)
        (tmp_path / "last.yaml").write_text(TEXT)
        await anext(seen)
        more = asyncio.ensure_future(anext(seen))
        await asyncio.wait({more}, timeout=4 * LONGEST_MILLISECONDS / 1000)
        assert not more.done()
        more.cancel()


async def test_what_changed_before_the_watch_stands_is_no_secret(tmp_path: Path) -> None:
    seen = changes(tmp_path)
    (tmp_path / "a.yaml").write_text(TEXT)
    async with asyncio.timeout(10):
        await anext(seen)
    await seen.aclose()


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


@pytest.mark.parametrize(
    ("address", "inbound", "told", "called_at"),
    [
        ("127.0.0.1", "0.0.0.0:15006", {"shop/w-0": "10.0.0.7"}, "10.0.0.7:15006"),
        ("127.0.0.1", "[::]:15006", {"shop/w-0": "fd00::7"}, "[fd00::7]:15006"),
        ("10.0.0.9", "0.0.0.0:15006", {}, "10.0.0.9:15006"),
        ("127.0.0.1", "10.0.0.8:15006", {"shop/w-0": "10.0.0.7"}, "10.0.0.8:15006"),  # the user's word counts
        ("127.0.0.1", "0.0.0.0:15006", {"shop/other": "10.0.0.7"}, "127.0.0.1:15006"),
    ],
)
def test_a_listener_on_every_address_is_called_where_its_proxy_said(
    tmp_path: Path, address: str, inbound: str, told: dict[str, str], called_at: str
) -> None:
    written = world(f"{{inbound: '{inbound}'}}", address=address)
    found = Ports(tmp_path / "ports.json").listeners(written, told)["shop/w-0"]
    assert (found.inbound, found.called_at) == (inbound, called_at)


def test_told_addresses_outlive_the_process(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    addresses = Addresses(file)
    assert addresses.tell(["shop/w-0", "shop/w-1"], "10.0.0.7")
    assert not addresses.tell(["shop/w-1"], "10.0.0.7")
    assert addresses.tell(["shop/w-1"], "10.0.0.8")
    assert Addresses(file).told == {"shop/w-0": "10.0.0.7", "shop/w-1": "10.0.0.8"}
    file.write_text("{")
    assert Addresses(file).told == {}


@pytest.mark.parametrize(
    ("host", "discovery", "identity"),
    [("0.0.0.0", "0.0.0.0:15012", "0.0.0.0:15013"), ("::", "[::]:15012", "[::]:15013")],
)
def test_elsewhere_the_control_plane_has_the_usual_ports(
    tmp_path: Path, host: str, discovery: str, identity: str
) -> None:
    ports = Ports(tmp_path / "ports.json")
    assert (ports.own("discovery", host), ports.own("identity", host)) == (discovery, identity)


def test_the_control_plane_takes_no_port_that_a_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("ports: [{port: 20001}]\nsidecar: {inbound: 127.0.0.1:20002")  # broken too
    (tmp_path / "b.txt").write_text("20003")
    monkeypatch.setattr("plait_controlplane.sources.ports.FREE", range(20001, 20004))
    assert numbers_in(tmp_path) == {20001, 20002}
    own = Ports(tmp_path / "ports.json").own("discovery", "127.0.0.1", numbers_in(tmp_path))
    assert own == "127.0.0.1:20003"


def test_the_control_plane_keeps_its_own_two(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    assert ports.own("discovery", "127.0.0.1") != ports.own("identity", "127.0.0.1")
    assert Ports(tmp_path / "ports.json").own("identity", "::1") == "[::1]:" + ports.own("identity", "127.0.0.1")[10:]
