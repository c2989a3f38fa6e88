"""What is written into the objects of a cluster, and how often, with a scripted control plane and API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fake_apiserver import FakeApiServer, Fault, serving
from kubernetes.aio import client
from plait_controlplane.apiserver import ApiServer
from plait_controlplane.interest.publication import publish, resources_of
from plait_controlplane.sources.kubernetes import Joining, KubernetesSource
from plait_controlplane.sources.lastgood import Settled, settle
from plait_controlplane.sources.reflector import Pace
from plait_controlplane.status.lease import Lease
from plait_controlplane.status.proxies import Proxies, Rejection
from plait_controlplane.status.writer import StatusWriter, Told
from plait_controlplane.translate.everything import translate
from plait_sdk.contracts import resource_pb2

QUICK = Joining(quiet=0.01, look_again=0.1, pace=Pace(quiet=30, backoff=(0.01, 0.05), relist=0.01))
ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/stock/status"
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{name: front}, {group: "", kind: Service, name: stock}, {group: "", kind: Service, name: stok}]
  hostnames: [stock.example]
  rules: [{backendRefs: [{name: stock, port: 80}, {name: lost, port: 80}]}]
status:
  parents:
  - {parentRef: {name: front}, controllerName: example.org/gateway, conditions: []}
---
apiVersion: plait.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stock, namespace: shop}
spec: {targetRefs: [{kind: Service, name: stock}], fault: {delay: 1s}}
"""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 (what is waited for happens in tasks that know of no test)
            await asyncio.sleep(0.01)


@dataclass
class Control:
    """A control plane without proxies' streams, and its writer."""

    fake: FakeApiServer
    source: KubernetesSource
    proxies: Proxies
    settled: Settled
    writer: StatusWriter
    lease: Lease

    def told(self) -> Told:
        world = self.settled.world
        translation = translate(world, self.source.listeners(world))
        publication = publish(self.source.number(0), resources_of(translation, []))
        return Told(self.settled, publication, tuple(self.proxies.all()))

    async def follow(self) -> None:
        async for _ in self.source.changes():
            reading = await self.source.read()
            settled = settle(self.settled, reading.world, reading.problems, reading.broken)
            self.settled = replace(settled, seen=reading.seen)

    def written(self, path: str = ROUTE) -> int:
        return self.fake.asked(path, "PATCH")

    def conditions(self, parent: str = "stock", kind: str = "HTTPRoute") -> dict[str, tuple[str, str, str]]:
        status = self.fake.status(kind, "shop", "stock")
        found = status.get("conditions", []) if kind != "HTTPRoute" else []
        for entry in status.get("parents", []):
            if entry["controllerName"] == "plait.dev/controlplane" and entry["parentRef"]["name"] == parent:
                found = entry["conditions"]
        return {one["type"]: (one["status"], one["reason"], one["message"]) for one in found}


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    async with serving() as fake:
        await fake.apply(OBJECTS)
        api = ApiServer(client.Configuration(host=fake.url))
        source = KubernetesSource(api, QUICK)
        await source.start()
        lease = Lease(api, "plait-system")
        lease.duration_seconds, lease.renew_seconds = 3.0, 0.1
        made: Control
        writer = StatusWriter(api, lease, source.path, lambda: made.told())
        made = Control(fake, source, Proxies(), Settled(), writer, lease)
        tasks = [asyncio.create_task(made.follow()), asyncio.create_task(writer.run())]
        yield made
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await source.stop()


async def test_every_parent_of_ours_is_told_and_others_entries_stay(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    parents = control.fake.status("HTTPRoute", "shop", "stock")["parents"]
    assert parents[0] == {"parentRef": {"name": "front"}, "controllerName": "example.org/gateway", "conditions": []}
    assert [entry["parentRef"] for entry in parents[1:]] == [
        {"group": "", "kind": "Service", "name": "stock"},
        {"group": "", "kind": "Service", "name": "stok"},
    ]
    for entry in parents[1:]:
        assert all(one["observedGeneration"] == 1 and one["lastTransitionTime"] for one in entry["conditions"])
    found = control.conditions()
    assert found["Accepted"][:2] == ("True", "Accepted")
    assert "hostnames are ignored" in found["Accepted"][2]
    assert found["ResolvedRefs"][:2] == ("False", "BackendNotFound")
    assert "Service shop/lost does not exist" in found["ResolvedRefs"][2]
    assert found["Programmed"][:2] == ("True", "Programmed")
    assert control.conditions("stok")["Accepted"][:2] == ("False", "NoMatchingParent")
    assert control.conditions("stok")["Programmed"][:2] == ("False", "Invalid")


async def test_what_is_not_supported_is_told_on_our_own_kinds(control: Control) -> None:
    await until(lambda: bool(control.conditions(kind="TrafficPolicy")))
    found = control.conditions(kind="TrafficPolicy")
    assert found["Accepted"][:2] == ("False", "UnsupportedValue")
    assert "spec.fault" in found["Accepted"][2]
    assert found["Programmed"][:2] == ("False", "Invalid")


async def test_what_is_said_already_is_not_said_again(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    await until(lambda: bool(control.conditions(kind="TrafficPolicy")))
    before = control.written()
    assert before == 1
    await control.fake.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: new, namespace: shop}, spec: {ports: []}}"
    )
    policy = control.fake.objects["TrafficPolicy", "shop", "stock"]
    await control.fake.put({**policy, "spec": {"targetRefs": policy["spec"]["targetRefs"]}})
    await until(lambda: control.conditions(kind="TrafficPolicy")["Accepted"][0] == "True")
    assert control.written() == before


async def test_a_broken_route_says_so_and_that_the_last_good_one_goes_on(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    turned = control.fake.status("HTTPRoute", "shop", "stock")["parents"][1]["conditions"]
    route = control.fake.objects["HTTPRoute", "shop", "stock"]
    await control.fake.put({**route, "spec": {**route["spec"], "rules": [{"matchs": []}]}})
    await until(lambda: control.conditions()["Accepted"][0] == "False")
    accepted = control.conditions()["Accepted"]
    assert accepted[1] == "UnsupportedValue"
    assert 'unknown field "matchs"' in accepted[2]
    assert "last good version goes on" in accepted[2]
    now = control.fake.status("HTTPRoute", "shop", "stock")["parents"][1]["conditions"]
    assert {one["observedGeneration"] for one in now} == {2}
    assert now[2]["lastTransitionTime"] == turned[2]["lastTransitionTime"], "Programmed did not turn"


async def test_a_conflict_is_tried_again_on_top_of_what_the_other_wrote(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    control.fake.faults.append(Fault(409, lists=True, watches=False))
    route = control.fake.objects["HTTPRoute", "shop", "stock"]
    await control.fake.put({**route, "spec": {**route["spec"], "hostnames": []}})
    await until(lambda: control.conditions()["Accepted"][2] == "in force as written")
    assert control.fake.status("HTTPRoute", "shop", "stock")["parents"][0]["controllerName"] == "example.org/gateway"


async def test_programmed_says_which_proxies_have_it(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    key = (resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/stock")
    state = control.proxies.connected("web-1", ("shop/web-1",), "1")
    state.sent = {key: b"new"}
    await until(lambda: control.conditions()["Programmed"][1] == "Pending")
    assert "web-1" in control.conditions()["Programmed"][2]
    state.rejections["Route", key[1]] = Rejection("Route", key[1], "rules[0]", "too many", 1)
    await until(lambda: control.conditions()["Programmed"][1] == "Rejected")
    assert "web-1: rules[0] too many" in control.conditions()["Programmed"][2]
    state.rejections.clear()
    publication = control.told().publication
    state.acked = state.sent = {key: publication.resources[key].version}
    state.generation, state.settled = publication.generation, True
    await until(lambda: control.conditions()["Programmed"][0] == "True")


async def test_a_route_that_leaves_the_mesh_loses_our_entries_alone(control: Control) -> None:
    await until(lambda: bool(control.conditions("stok")))
    route = control.fake.objects["HTTPRoute", "shop", "stock"]
    await control.fake.put({**route, "spec": {**route["spec"], "parentRefs": [{"name": "front"}]}})
    await until(lambda: not control.conditions())
    parents = control.fake.status("HTTPRoute", "shop", "stock")["parents"]
    assert [entry["controllerName"] for entry in parents] == ["example.org/gateway"]


async def test_a_pod_without_the_proxy_that_was_asked_for_is_told_once(control: Control) -> None:
    await control.fake.apply(
        """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {plait.dev/inject: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: missed, namespace: shop}, spec: {}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: refused, namespace: shop, labels: {plait.dev/inject: disabled}},
 spec: {}, status: {podIP: 10.244.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: on-host, namespace: shop}, spec: {hostNetwork: true},
 status: {podIP: 172.18.0.2}}
"""
    )
    await until(lambda: any(kind == "Event" for kind, _, _ in control.fake.objects))
    await control.fake.apply("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: shop}, spec: {ports: []}}")
    policy = control.fake.objects["TrafficPolicy", "shop", "stock"]
    await control.fake.put({**policy, "spec": {"targetRefs": policy["spec"]["targetRefs"]}})
    await until(lambda: control.conditions(kind="TrafficPolicy").get("Accepted", ("",))[0] == "True")
    events = [item for (kind, _, _), item in control.fake.objects.items() if kind == "Event"]
    assert [(one["reason"], one["involvedObject"]["name"]) for one in events] == [("NotInjected", "missed")]
    assert control.fake.asked("/api/v1/namespaces/shop/events", "POST") == 1


async def test_one_replica_writes_and_another_takes_over(control: Control) -> None:
    await until(lambda: control.lease.held)
    other: Any = Lease(ApiServer(client.Configuration(host=control.fake.url)), "plait-system")
    other.duration_seconds, other.renew_seconds = 3.0, 0.1
    async with other._api:
        await other.tend()
        assert not other.held
        assert (
            control.fake.objects["Lease", "plait-system", "plait-status"]["spec"]["holderIdentity"]
            == control.lease.holder
        )
        now = 0.0
        late: Any = Lease(other._api, "plait-system", lambda: now)
        late.duration_seconds, late.renew_seconds = 3.0, 0.1
        await late.tend()
        # The first falls silent: no renewal is heard for as long as it lasts.
        control.fake.faults.append(Fault(500, times=10_000, watches=False))
        await until(lambda: not control.lease.held)
        control.fake.faults.clear()
        frozen = control.fake.objects["Lease", "plait-system", "plait-status"]
        await control.fake.put({**frozen, "spec": {**frozen["spec"], "holderIdentity": "somebody"}})
        await late.tend()
        assert not late.held
        now = 4.0
        await late.tend()
        assert late.held
        assert control.fake.objects["Lease", "plait-system", "plait-status"]["spec"]["leaseTransitions"] >= 1
