"""What was translated before is never stale: a cluster changed at random, translated with a memory and from nothing."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from fake_apiserver import FakeApiServer, Object, serving
from kubernetes.aio import client
from plait_controlplane.apiserver import ApiServer
from plait_controlplane.interest.publication import publish, resources_of
from plait_controlplane.sources.kubernetes import Joining, KubernetesSource
from plait_controlplane.sources.reflector import Pace
from plait_controlplane.translate.everything import translate
from plait_controlplane.translate.memo import Memo

QUICK = Joining(quiet=0.0, look_again=30, pace=Pace(quiet=30))
NAMES = ["a", "b", "c"]
CHANGES = 60
Change = Callable[[FakeApiServer, random.Random], Awaitable[None]]


def made(kind: str, name: str, api: str = "v1", **rest: object) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, **rest}


async def service(fake: FakeApiServer, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    spec = {"selector": {"app": chance.choice(NAMES)}, "ports": [{"name": "http", "port": chance.choice([80, 81])}]}
    await fake.put(made("Service", name, spec={**spec, "clusterIPs": [f"10.96.0.{chance.randint(1, 4)}"]}))


async def pod(fake: FakeApiServer, chance: random.Random) -> None:
    item = made("Pod", f"p{chance.randint(0, 4)}")
    item["metadata"]["labels"] = {"app": chance.choice(NAMES)}
    if chance.random() < 0.7:
        item["metadata"]["labels"]["plait.dev/injected"] = "true"
    item["spec"] = {"nodeName": "n", "serviceAccountName": chance.choice(NAMES), "containers": [{"name": "app"}]}
    item["status"] = {"phase": "Running", "podIP": f"10.244.0.{chance.randint(1, 6)}"}
    await fake.put(item)


async def slice_(fake: FakeApiServer, chance: random.Random) -> None:
    item = made("EndpointSlice", f"s{chance.randint(0, 3)}", "discovery.k8s.io/v1", addressType="IPv4")
    item["metadata"]["labels"] = {"kubernetes.io/service-name": chance.choice(NAMES)}
    item["ports"] = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    item["endpoints"] = [
        {
            "addresses": [f"10.244.0.{chance.randint(1, 6)}"],
            "conditions": {"ready": chance.random() < 0.7},
            "targetRef": {"kind": "Pod", "name": f"p{chance.randint(0, 4)}"},
        }
        for _ in range(chance.randint(0, 3))
    ]
    await fake.put(item)


async def node(fake: FakeApiServer, chance: random.Random) -> None:
    labels = {"topology.kubernetes.io/zone": chance.choice(NAMES)}
    await fake.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}})


async def route(fake: FakeApiServer, chance: random.Random) -> None:
    parents = [{"group": "", "kind": "Service", "name": chance.choice(NAMES)}]
    rules = [{"backendRefs": [{"name": chance.choice(NAMES), "port": 80}]}]
    api = "gateway.networking.k8s.io/v1"
    await fake.put(made("HTTPRoute", chance.choice(NAMES), api, spec={"parentRefs": parents, "rules": rules}))


async def policy(fake: FakeApiServer, chance: random.Random) -> None:
    target = {"targetRefs": [{"group": "", "kind": "Service", "name": chance.choice(NAMES)}]}
    spec = {**target, "action": chance.choice(["Allow", "Deny"]), "rules": [{}]}
    await fake.put(made("AuthorizationPolicy", chance.choice(NAMES), "plait.dev/v1alpha1", spec=spec))


async def traffic(fake: FakeApiServer, chance: random.Random) -> None:
    target = {"targetRefs": [{"group": "", "kind": "Service", "name": chance.choice(NAMES)}]}
    spec = {**target, "connections": {"max": chance.randint(1, 9)}, "timeouts": {"request": "1s"}}
    await fake.put(made("TrafficPolicy", chance.choice(NAMES), "plait.dev/v1alpha1", spec=spec))


async def plugin(fake: FakeApiServer, chance: random.Random) -> None:
    target = {"targetRefs": [{"group": "", "kind": "Service", "name": chance.choice(NAMES)}]}
    spec = {**target, "package": "plait-x", "direction": chance.choice(["Inbound", "Outbound"])}
    await fake.put(made("Plugin", chance.choice(NAMES), "plait.dev/v1alpha1", spec=spec))


async def mesh(fake: FakeApiServer, chance: random.Random) -> None:
    item = made("Mesh", "default", "plait.dev/v1alpha1", spec={"trustDomain": f"{chance.choice(NAMES)}.example"})
    del item["metadata"]["namespace"]
    await fake.put(item)


async def removal(fake: FakeApiServer, chance: random.Random) -> None:
    if fake.objects:
        await fake.delete(*chance.choice(sorted(fake.objects)))


COMMON: list[Change] = [service, pod, pod, slice_, slice_, route, removal]
RARE: list[Change] = [node, policy, traffic, plugin, mesh]


@pytest.mark.parametrize("seed", range(4))
async def test_a_world_changed_at_random_is_translated_as_from_nothing(seed: int) -> None:
    chance, memo, publication = random.Random(seed), Memo(), None
    async with serving() as fake:
        source = KubernetesSource(ApiServer(client.Configuration(host=fake.url)), QUICK)
        await source.start()
        try:
            for number in range(CHANGES):
                await chance.choice(COMMON if chance.random() < 0.8 else RARE)(fake, chance)
                await fake.bookmark()
                await heard(source, fake.version)
                world = (await source.read()).world
                listeners = source.listeners(world)
                kept, new = (resources_of(translate(world, listeners, one), []) for one in (memo, None))
                assert list(kept) == list(new), f"after change {number}"
                for key, one in new.items():
                    assert kept[key] == one, f"after change {number}"
                publication, anew = publish(number, kept, publication), publish(number, new)
                assert (publication.wire, publication.facts) == (anew.wire, anew.facts)
                assert (publication.identities, publication.routes) == (anew.identities, anew.routes)
        finally:
            await source.stop()


async def heard(source: KubernetesSource, version: int) -> None:
    async with asyncio.timeout(30):
        while not source.covers(version):  # noqa: ASYNC110 (it happens in tasks that know of no test)
            await asyncio.sleep(0.002)


def test_a_text_is_the_same_when_it_is_equal_and_an_object_when_it_is_one() -> None:
    memo, one, other = Memo(), object(), object()
    assert memo.edition("x", ("a" * 50, one)) == memo.edition("x", ("a" * 25 + "a" * 25, one))
    assert memo.edition("x", ("a", one)) != memo.edition("x", ("a", other))
    assert memo.edition("x", ((one,),)) != memo.edition("x", ((one, one),))
