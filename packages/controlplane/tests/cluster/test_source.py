"""The cluster as a source, against an API server that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from fake_apiserver import FakeApiServer, Fault, serving
from kubernetes.aio import client
from plait_controlplane.apiserver import ApiServer
from plait_controlplane.sources.kubernetes import Joining, KubernetesSource
from plait_controlplane.sources.reflector import Pace

SERVICES = "/api/v1/services"
SHOP = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop, labels: {team: a}}
spec: {clusterIPs: [10.96.1.2], selector: {app: stock}, ports: [{port: 80, targetPort: 8080}], unheardOf: {a: 1}}
status: {loadBalancer: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: stock-1, namespace: shop, labels: {app: stock, plait.dev/injected: "true"}}
spec: {nodeName: n1, serviceAccountName: stock, containers: [{name: app, ports: [{containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.244.0.7}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: stock-abc, namespace: shop, labels: {kubernetes.io/service-name: stock}}
addressType: IPv4
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.244.0.7], conditions: {ready: true}, targetRef: {kind: Pod, name: stock-1, namespace: shop}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}, {group: "", kind: Service, name: stock}]
  rules: [{backendRefs: [{name: stock, port: 80}]}]
"""
QUICK = Joining(quiet=0.01, look_again=0.1, pace=Pace(page=2, quiet=30, backoff=(0.01, 0.05), relist=0.01))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 (what is waited for happens in tasks that know of no test)
            await asyncio.sleep(0.01)


def service(name: str, port: int = 80) -> str:
    spec = f"spec: {{ports: [{{port: {port}}}]}}"
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, {spec}}}"


async def names(source: KubernetesSource) -> set[str]:
    return {name for kind, _, name in (await source.read()).world.objects if kind == "Service"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeApiServer]:
    async with serving() as server:
        await server.apply(SHOP)
        yield server


@pytest.fixture
async def source(fake: FakeApiServer) -> AsyncIterator[KubernetesSource]:
    made = KubernetesSource(ApiServer(client.Configuration(host=fake.url)), QUICK)
    await made.start()
    yield made
    await made.stop()


async def test_everything_that_shapes_the_mesh_is_read(source: KubernetesSource) -> None:
    reading = await source.read()
    assert not reading.problems
    assert set(reading.world.objects) == {("Service", "shop", "stock"), ("HTTPRoute", "shop", "stock")}
    pod = reading.world.cluster.pods["shop/stock-1"]
    assert (pod.spec.service_account, pod.spec.address, pod.spec.zone) == ("stock", "10.244.0.7", "z1")
    assert reading.world.cluster.slices["shop/stock"][0].endpoints[0].pod == "shop/stock-1"
    assert source.listeners(reading.world)["shop/stock-1"].called_at == "10.244.0.7:15006"


async def test_lists_come_in_pages(fake: FakeApiServer, source: KubernetesSource) -> None:
    for number in range(7):
        await fake.apply(service(f"s{number}"))
    await until(lambda: source.number(0) == fake.version)
    fake.forget()
    await fake.disconnect()
    await until(lambda: fake.asked(SERVICES) >= 5)  # one page at first, four pages now
    assert len(await names(source)) == 8


async def test_nothing_is_told_before_every_kind_was_listed(fake: FakeApiServer) -> None:
    fake.faults.append(Fault(500, times=20))
    source = KubernetesSource(ApiServer(client.Configuration(host=fake.url)), QUICK)
    await source.start()
    try:
        reading = await source.read()
        assert len(reading.world.objects) == 2
        assert not fake.faults[0].times
    finally:
        await source.stop()


async def test_a_change_is_told_and_what_changes_nothing_is_not(fake: FakeApiServer, source: KubernetesSource) -> None:
    changes = source.changes()
    await anext(changes)
    await source.read()
    waiting = asyncio.ensure_future(anext(changes))
    pod = dict(fake.objects["Pod", "shop", "stock-1"])
    await fake.put({**pod, "status": {**pod["status"], "conditions": [{"type": "Ready"}]}})
    await fake.apply(service("later"))
    await waiting
    assert await names(source) == {"stock", "later"}
    assert source.number(0) == fake.version
    await changes.aclose()


async def test_a_watch_that_breaks_goes_on_where_it_was(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    before = fake.asked(SERVICES)
    fake.faults.append(Fault(429, times=3, headers={"Retry-After": "0"}))
    await fake.disconnect()
    await fake.apply(service("meanwhile"))
    await until(lambda: source.number(0) == fake.version)
    assert await names(source) == {"stock", "meanwhile"}
    assert fake.asked(SERVICES) == before, "it was listed again"


async def test_what_the_server_forgot_is_listed_again_and_what_is_gone_goes(
    fake: FakeApiServer, source: KubernetesSource
) -> None:
    await source.read()
    fake.open.clear()
    await fake.disconnect()
    await fake.delete("HTTPRoute", "shop", "stock")
    await fake.apply(service("meanwhile"))
    fake.forget()
    fake.open.set()
    await until(lambda: source.covers(fake.version))
    reading = await source.read()
    assert set(reading.world.objects) == {("Service", "shop", "stock"), ("Service", "shop", "meanwhile")}


async def test_an_error_never_empties_the_world(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    fake.forget()
    fake.faults.append(Fault(500, times=1000))
    await fake.disconnect()
    await until(lambda: fake.faults[0].times < 950)
    assert len((await source.read()).world.objects) == 2
    fake.faults.clear()
    await fake.apply(service("after"))
    await until(lambda: source.covers(fake.version))
    assert await names(source) == {"stock", "after"}


async def test_a_kind_that_is_not_installed_is_told_and_found_when_it_comes(fake: FakeApiServer) -> None:
    fake.installed -= {"HTTPRoute", "TCPRoute"}
    source = KubernetesSource(ApiServer(client.Configuration(host=fake.url)), QUICK)
    await source.start()
    try:
        assert {key[0] for key in (await source.read()).world.objects} == {"Service"}
        assert set(source.absent) == {"httproutes.gateway.networking.k8s.io", "tcproutes.gateway.networking.k8s.io"}
        fake.installed |= {"HTTPRoute", "TCPRoute"}
        await until(lambda: not source.absent and source.covers(fake.version))
        assert {key[0] for key in (await source.read()).world.objects} == {"Service", "HTTPRoute"}
    finally:
        await source.stop()


async def test_a_kind_that_is_taken_away_takes_its_objects_along(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    fake.installed -= {"HTTPRoute"}
    await fake.disconnect()
    await until(lambda: "httproutes.gateway.networking.k8s.io" in source.absent)
    assert {key[0] for key in (await source.read()).world.objects} == {"Service"}


async def test_a_broken_object_is_a_problem_of_its_own(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    route = dict(fake.objects["HTTPRoute", "shop", "stock"])
    await fake.put({**route, "spec": {**route["spec"], "rules": [{"backendRef": []}]}})
    await until(lambda: source.number(0) == fake.version)
    reading = await source.read()
    assert [(one.object, one.path, one.message) for one in reading.problems] == [
        ("HTTPRoute shop/stock", "spec.rules[0].backendRef", 'unknown field "backendRef"; did you mean "backendRefs"?')
    ]
    assert set(reading.world.objects) == {("Service", "shop", "stock")}
    assert len(reading.broken) == 1


async def test_routes_of_gateways_alone_are_not_ours(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    foreign = {"parentRefs": [{"name": "front"}], "rules": [{"timeouts": {"unheardOf": "1s"}}]}
    await fake.put({**fake.objects["HTTPRoute", "shop", "stock"], "spec": foreign})
    await until(lambda: source.number(0) == fake.version)
    reading = await source.read()
    assert not reading.problems
    assert set(reading.world.objects) == {("Service", "shop", "stock")}


async def test_a_pod_that_ended_is_no_pod(fake: FakeApiServer, source: KubernetesSource) -> None:
    await source.read()
    pod = fake.objects["Pod", "shop", "stock-1"]
    await fake.put({**pod, "status": {**pod["status"], "phase": "Succeeded"}})
    await until(lambda: source.number(0) == fake.version)
    assert not (await source.read()).world.workloads


async def test_a_replica_serves_a_higher_number_when_it_has_seen_as_far(
    fake: FakeApiServer, source: KubernetesSource
) -> None:
    await source.read()
    assert source.covers(fake.version)
    fake.version += 10  # of kinds that concern nobody here
    assert not source.covers(fake.version)
    await fake.bookmark()
    await until(lambda: source.covers(fake.version))
    assert source.number(0) < fake.version, "a bookmark is no change"
