"""When a name is asked again, and what of its answers is told; the clock is the test's."""

import asyncio
from typing import Any

import plait_sdk as plait
import pytest
from name_server import NameServer
from plait_dns_discovery import DnsDiscovery
from plait_dns_discovery.config import Config
from plait_dns_discovery.lookup import Found, Gone, Unanswered
from plait_dns_discovery.plugin import Follower

ONE, TWO = plait.Endpoint("10.0.0.1:80"), plait.Endpoint("10.0.0.2:80")


class Told:
    """A watch that notes what it is told."""

    def __init__(self) -> None:
        self.updates: list[list[plait.Endpoint]] = []

    def update(self, service: str, endpoints: list[plait.Endpoint]) -> None:
        assert service == "shop/web"
        self.updates.append(endpoints)


class Scene:
    """A follower, the next answer, and the time."""

    def __init__(self, **config: Any) -> None:
        self.told, self.now = Told(), 1000.0
        self.answer: Found | Exception = Found([ONE], 60)
        entry = {"service": "shop/web", "name": "_http._tcp.web.example.com"}
        made = Config.model_validate({"services": [entry], **config})
        self.follower = Follower(made, made.services[0], self.told, self.look, lambda: self.now)

    async def look(self, entry: object) -> Found:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def step(self, answer: Found | Exception) -> float:
        self.answer = answer
        return await self.follower.step()


async def test_it_is_asked_again_when_the_answer_no_longer_holds() -> None:
    scene = Scene(shortest_seconds=2.0, longest_seconds=100.0)
    waits = [await scene.step(Found([ONE], ttl)) for ttl in (0, 60, 5000)]
    assert waits == [2.0, 60.0, 100.0]


async def test_a_server_that_fails_takes_nothing_away_and_is_asked_ever_less_often() -> None:
    scene = Scene(longest_seconds=10.0)
    await scene.step(Found([ONE], 60))
    waits = [await scene.step(Unanswered("no")) for _ in range(6)]
    assert scene.told.updates == [[ONE]]
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert await scene.step(Found([TWO], 60)) == 10.0
    assert scene.told.updates[-1] == [TWO]
    assert await scene.step(Unanswered("no")) == 2.0


async def test_a_name_that_is_gone_for_a_moment_keeps_its_endpoints() -> None:
    scene = Scene(gone_seconds=30.0)
    await scene.step(Found([ONE], 60))
    assert await scene.step(Gone("gone", 10)) == 10
    scene.now += 25
    assert await scene.step(Gone("gone", 10)) == 5
    scene.now += 1
    await scene.step(Found([ONE], 60))
    scene.now += 20  # a new absence counts from its own beginning
    await scene.step(Gone("gone", 10))
    assert scene.told.updates == [[ONE], [ONE]]


async def test_a_name_that_stays_gone_loses_them() -> None:
    scene = Scene(gone_seconds=30.0)
    await scene.step(Found([ONE], 60))
    await scene.step(Gone("gone", 60))
    scene.now += 30
    await scene.step(Gone("gone", 60))
    assert scene.told.updates == [[ONE], []]


async def test_a_name_that_never_was_is_believed_at_once() -> None:
    scene = Scene()
    await scene.step(Gone("gone", 60))
    assert scene.told.updates == [[]]


async def test_endpoints_that_the_mesh_refuses_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()

    def refuse(service: str, endpoints: list[plait.Endpoint]) -> None:
        raise ValueError("169.254.169.254:80 is nowhere that a proxy may call")

    await scene.step(Found([ONE], 60))
    monkeypatch.setattr(scene.told, "update", refuse)
    assert await scene.step(Found([TWO], 60)) == 2.0


async def test_the_hook_follows_a_real_server() -> None:
    with NameServer() as names:
        names.put("_http._tcp.web.example.com", "SRV", "0 1 8080 a.example.com.", ttl=0)
        names.put("a.example.com", "A", "10.0.0.1", ttl=0)
        entry = {"service": "shop/web", "name": "_http._tcp.web.example.com"}
        config = {"services": [entry], "servers": [names.address], "shortest_seconds": 0.01}
        plugin = DnsDiscovery(Config.model_validate(config))
        heard: asyncio.Queue[list[str]] = asyncio.Queue()

        class Watch:
            def update(self, service: str, endpoints: list[Any]) -> None:
                heard.put_nowait([one.address for one in endpoints])

        async def until(wanted: list[str]) -> None:
            async with asyncio.timeout(60):
                while await heard.get() != wanted:
                    pass

        running = asyncio.create_task(plugin.discover(Watch()))
        await until(["10.0.0.1:8080"])
        names.put("a.example.com", "A", "10.0.0.2", ttl=0)
        await until(["10.0.0.2:8080"])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()
