"""Watch over real sockets and mutual TLS, a Python client in the place of the proxy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from plait_controlplane.app import identify
from plait_controlplane.discovery.publisher import Publisher
from plait_controlplane.discovery.server import DiscoveryServer
from plait_controlplane.discovery.stream import Hooks, Timing, Watch
from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.credentials import KeyPair, ServerIdentity, new_key
from plait_controlplane.identity.names import SpiffeId, control_plane
from plait_controlplane.interest.publication import publish, resources_of
from plait_controlplane.lint import offline
from plait_controlplane.resources.reader import read
from plait_controlplane.resources.world import world_of
from plait_controlplane.status.proxies import Proxies
from plait_sdk.contracts import discovery_pb2, discovery_pb2_grpc, mesh_pb2, resource_pb2, route_pb2

Channel = Callable[..., Awaitable[grpc.aio.Channel]]

DOMAIN = "shop.example"
TIMEOUT_SECONDS = 5.0

WORLD = """
{apiVersion: plait.dev/v1alpha1, kind: Mesh, metadata: {name: default}, spec: {trustDomain: shop.example}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {app: stock}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock-v2, namespace: shop}
spec: {selector: {app: v2}, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules: [{backendRefs: [{name: stock, port: 80, weight: 90}, {name: stock-v2, port: 80, weight: 10}]}]
---
apiVersion: plait.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web-only, namespace: shop}
spec: {action: Allow, targetRefs: [{kind: Service, name: stock}], rules: [{from: [{serviceAccounts: [web]}]}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {serviceAccount: web, address: 127.0.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: plait.dev/v1alpha1
kind: Workload
metadata: {name: stock-1, namespace: shop, labels: {app: stock}}
spec: {serviceAccount: stock, address: 127.0.0.1, ports: [{name: http, port: 80}]}
"""


def publication(generation: int, text: str = WORLD) -> Any:
    found, problems = read("shop.yaml", text)
    assert not problems, problems
    world, _ = world_of(found)
    return publish(generation, resources_of(offline(world), [b"root"]))


class Mesh:
    """A discovery server and the CA that its proxies come from."""

    def __init__(self, folder: Path, address: str, channel: Channel, timing: Timing) -> None:
        self.authority = Authority(folder / "ca")
        self.address, self._channel = address, channel
        self.publisher = Publisher(publication(7))
        self.proxies = Proxies()
        self.told: list[tuple[tuple[str, ...], str]] = []
        self.covered = 0
        watch = Watch(self.publisher, self.proxies, identify, timing, Hooks(self._tell, self._overtaken))
        self.identity = ServerIdentity(self.pair(control_plane(DOMAIN)), clients=True)
        self.server = DiscoveryServer(watch, address, self.identity.credentials())

    async def _tell(self, workloads: tuple[str, ...], address: str) -> None:
        self.told.append((workloads, address))

    async def _overtaken(self, generation: int) -> bool:
        """A replica that has seen as far as `covered`."""
        if generation > self.covered:
            return False
        self.publisher.publish(publication(generation))
        return True

    def pair(self, identity: SpiffeId, authority: Authority | None = None, seconds: float = 3600) -> KeyPair:
        key = new_key()
        by = authority or self.authority
        leaf = by.leaf(identity, key.public_key(), timedelta(seconds=seconds))
        return KeyPair(key, (leaf,), (self.authority.root,))

    async def proxy(self, account: str, pair: KeyPair | None = None) -> "Proxy":
        pair = pair or self.pair(SpiffeId(DOMAIN, "shop", account))
        roots = [self.authority.root]
        channel = await self._channel(self.address, roots, str(control_plane(DOMAIN)), pair)
        return Proxy(channel)


class Proxy:
    """A scripted proxy."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: Any = discovery_pb2_grpc.DiscoveryStub(channel)
        self._call = stub.Watch()
        self.held: dict[tuple[int, str], bytes] = {}

    async def say(self, **message: Any) -> None:
        await self._call.write(discovery_pb2.WatchRequest(**message))

    async def hello(self, *workloads: str, **fields: Any) -> None:
        name = workloads[0].rpartition("/")[2] if workloads else ""
        hello = {"proxy": name, "protocol": 1, "workloads": workloads, "proxy_version": "0.1.0", **fields}
        await self.say(hello=discovery_pb2.Hello(**hello))

    async def hear(self) -> discovery_pb2.WatchResponse:
        answer = await asyncio.wait_for(self._call.read(), TIMEOUT_SECONDS)
        assert isinstance(answer, discovery_pb2.WatchResponse), "the stream ended"
        return answer

    async def change_set(self) -> discovery_pb2.ChangeSet:
        answer = await self.hear()
        assert answer.WhichOneof("message") == "change_set", answer
        return answer.change_set

    async def heartbeat(self) -> int:
        answer = await self.hear()
        assert answer.WhichOneof("message") == "heartbeat", answer
        return answer.heartbeat.generation

    async def ack(self, change_set: discovery_pb2.ChangeSet, *rejections: discovery_pb2.Rejection) -> None:
        ack = discovery_pb2.Ack(nonce=change_set.nonce, generation=change_set.generation, rejections=rejections)
        await self.say(ack=ack)

    async def apply(self) -> discovery_pb2.ChangeSet:
        change_set = await self.change_set()
        await self.ack(change_set)
        return change_set

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Reads to the end; the code and the reason of it."""
        try:
            while await asyncio.wait_for(self._call.read(), TIMEOUT_SECONDS) is not grpc.aio.EOF:
                continue
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return await self._call.code(), await self._call.details()


def names(change_set: discovery_pb2.ChangeSet) -> list[str]:
    kind = resource_pb2.ResourceKind
    return [f"{kind.Name(one.kind).removeprefix('RESOURCE_KIND_')} {one.name}" for one in change_set.upserts]


@pytest.fixture
async def mesh(tmp_path: Path, free_address: str, connect: Channel) -> AsyncIterator[Mesh]:
    mesh = Mesh(tmp_path, free_address, connect, Timing())
    await mesh.server.start()
    yield mesh
    await mesh.server.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110  what is waited for is in the server, which tells no event
            await asyncio.sleep(0.005)


async def test_hello_is_answered_with_the_own_workloads(mesh: Mesh) -> None:
    proxy = await mesh.proxy("stock")
    await proxy.hello("shop/stock-1")
    change_set = await proxy.apply()
    assert names(change_set) == ["MESH default", "POLICY shop/web-only", "WORKLOAD shop/stock-1"]
    assert (change_set.generation, list(change_set.known), list(change_set.unknown)) == (7, [], [])
    assert list(mesh_pb2.Mesh.FromString(change_set.upserts[0].body).trust_bundle) == [b"root"]
    await until(lambda: [(one.generation, one.settled) for one in mesh.proxies.all()] == [(7, True)])


async def test_a_proxy_may_say_where_it_is_reached(mesh: Mesh) -> None:
    proxy = await mesh.proxy("stock")
    await proxy.hello("shop/stock-1", address="10.244.0.7")
    await proxy.apply()
    assert mesh.told == [(("shop/stock-1",), "10.244.0.7")]


@pytest.mark.parametrize(
    ("account", "address", "code"),
    [
        ("stock", "stock.example.com", grpc.StatusCode.INVALID_ARGUMENT),
        ("stock", "10.0.0.7:15006", grpc.StatusCode.INVALID_ARGUMENT),
        ("stock", "0.0.0.0", grpc.StatusCode.INVALID_ARGUMENT),
        ("stock", "::", grpc.StatusCode.INVALID_ARGUMENT),
        ("stock", "224.0.0.1", grpc.StatusCode.INVALID_ARGUMENT),
        ("web", "10.0.0.7", grpc.StatusCode.PERMISSION_DENIED),  # somebody else's workload
    ],
)
async def test_no_other_address_is_believed(mesh: Mesh, account: str, address: str, code: grpc.StatusCode) -> None:
    proxy = await mesh.proxy(account)
    await proxy.hello("shop/stock-1", address=address)
    assert (await proxy.end())[0] is code
    assert mesh.told == []


async def test_a_destination_comes_with_all_that_it_names(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    await proxy.apply()
    await proxy.say(subscribe=discovery_pb2.Subscribe(destinations=["shop/stock", "shop/nobody", "www.example.com"]))
    change_set = await proxy.apply()
    assert names(change_set) == [
        "SERVICE shop/stock",
        "ENDPOINTS shop/stock",
        "SERVICE shop/stock-v2",
        "ENDPOINTS shop/stock-v2",
        "ROUTE HTTPRoute/shop/stock",
    ]
    assert list(change_set.known) == ["shop/stock"]
    assert list(change_set.unknown) == ["shop/nobody", "www.example.com"]
    await proxy.say(unsubscribe=discovery_pb2.Unsubscribe(destinations=["shop/stock"]))
    removed = await proxy.apply()
    assert sorted(one.name for one in removed.removals) == [
        "HTTPRoute/shop/stock",
        "shop/stock",
        "shop/stock",
        "shop/stock-v2",
        "shop/stock-v2",
    ]


async def test_an_edit_is_one_change_set_with_what_changed(mesh: Mesh) -> None:
    caller, other = await mesh.proxy("web"), await mesh.proxy("stock")
    await caller.hello("shop/web-1", destinations=["shop/stock"])
    await other.hello("shop/stock-1")
    await caller.apply()
    await other.apply()
    mesh.publisher.publish(publication(8, WORLD.replace("weight: 90", "weight: 50")))
    change_set = await caller.apply()
    assert (names(change_set), len(change_set.removals)) == (["ROUTE HTTPRoute/shop/stock"], 0)
    route = route_pb2.Route.FromString(change_set.upserts[0].body)
    assert [backend.weight for backend in route.rules[0].backends] == [50, 10]
    assert await other.heartbeat() == 8
    await until(lambda: {(one.proxy, one.generation, one.settled) for one in mesh.proxies.all()} == {
        ("web-1", 8, True), ("stock-1", 8, True)})  # fmt: skip


async def test_an_unknown_destination_that_appears_becomes_known(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1", destinations=["shop/late"])
    assert list((await proxy.apply()).unknown) == ["shop/late"]
    late = "\n---\n{apiVersion: v1, kind: Service, metadata: {name: late, namespace: shop}, spec: {ports: [{port: 1}]}}"
    mesh.publisher.publish(publication(8, WORLD + late))
    assert list((await proxy.apply()).known) == ["shop/late"]
    mesh.publisher.publish(publication(9))
    gone = await proxy.apply()
    assert (list(gone.unknown), [one.name for one in gone.removals]) == (["shop/late"], ["shop/late"] * 2)


async def test_after_a_reconnect_only_differences_travel(mesh: Mesh) -> None:
    first = await mesh.proxy("web")
    await first.hello("shop/web-1", destinations=["shop/stock"])
    had = await first.apply()
    held = [resource_pb2.ResourceVersion(kind=one.kind, name=one.name, version=one.version) for one in had.upserts]
    gone = resource_pb2.ResourceVersion(kind=resource_pb2.RESOURCE_KIND_SERVICE, name="shop/gone", version=b"x")
    mesh.publisher.publish(publication(8, WORLD.replace("weight: 90", "weight: 50")))
    again = await mesh.proxy("web")
    await again.hello("shop/web-1", destinations=["shop/stock"], held=[*held, gone], generation=7)
    change_set = await again.apply()
    assert names(change_set) == ["ROUTE HTTPRoute/shop/stock"]
    assert [one.name for one in change_set.removals] == ["shop/gone"]
    assert list(change_set.known) == ["shop/stock"]


async def test_one_change_set_is_under_way_at_a_time(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    first = await proxy.change_set()
    await proxy.say(subscribe=discovery_pb2.Subscribe(destinations=["shop/stock"]))
    mesh.publisher.publish(publication(8, WORLD.replace("weight: 90", "weight: 50")))
    await proxy.ack(first)
    second = await proxy.apply()
    assert (first.generation, second.generation, list(second.known)) == (7, 8, ["shop/stock"])


async def test_a_nack_is_recorded_and_the_next_change_brings_all(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    await proxy.apply()
    await proxy.say(subscribe=discovery_pb2.Subscribe(destinations=["shop/stock"]))
    refused = await proxy.change_set()
    await proxy.say(nack=discovery_pb2.Nack(nonce=refused.nonce, generation=7, reason="no memory"))
    await until(lambda: bool(mesh.proxies.all()[0].rejections))
    state = mesh.proxies.all()[0]
    assert ([one.reason for one in state.rejections.values()], state.settled) == (["no memory"], False)
    mesh.publisher.publish(publication(8, WORLD.replace("weight: 90", "weight: 50")))
    assert names(await proxy.apply()) == names(refused)
    await until(lambda: not state.rejections and state.settled)


async def test_a_rejected_resource_is_recorded_until_it_is_taken(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1", destinations=["shop/stock"])
    key = resource_pb2.ResourceKey(kind=resource_pb2.RESOURCE_KIND_ROUTE, name="HTTPRoute/shop/stock")
    rejection = discovery_pb2.Rejection(resource=key, path="rules[0]", reason="no")
    await proxy.ack(await proxy.change_set(), rejection)
    state = mesh.proxies.all()[0]
    await until(lambda: bool(state.rejections))
    told = next(iter(state.rejections.values()))
    assert (told.kind, told.name, told.path, told.reason, told.generation) == (
        "Route", "HTTPRoute/shop/stock", "rules[0]", "no", 7)  # fmt: skip
    assert state.settled
    mesh.publisher.publish(publication(8, WORLD.replace("weight: 90", "weight: 50")))
    await proxy.apply()
    await until(lambda: not state.rejections)


async def test_a_foreign_workload_is_refused(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1", "shop/stock-1")
    code, reason = await proxy.end()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert (
        reason
        == f"shop/stock-1 is spiffe://{DOMAIN}/ns/shop/sa/stock, and the certificate is for spiffe://{DOMAIN}/ns/shop/sa/web"
    )
    assert len(mesh.proxies) == 0


async def test_a_workload_that_becomes_another_ends_the_stream(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    await proxy.apply()
    mesh.publisher.publish(publication(8, WORLD.replace("serviceAccount: web,", "serviceAccount: front,")))
    code, _ = await proxy.end()
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_workload_that_is_removed_is_taken_away(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    await proxy.apply()
    mesh.publisher.publish(publication(8, WORLD.replace("name: web-1", "name: web-2")))
    assert [one.name for one in (await proxy.apply()).removals] == ["shop/web-1"]
    late = await mesh.proxy("web")
    await late.hello("shop/web-1")
    assert await late.end() == (grpc.StatusCode.NOT_FOUND, "the mesh has no Workload shop/web-1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"protocol": 2}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"workloads": []}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"generation": 8}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"destinations": [""]}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"destinations": ["x" * 600]}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_wrong_hello_ends_the_stream(mesh: Mesh, fields: dict[str, Any], code: grpc.StatusCode) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1", **fields)
    assert (await proxy.end())[0] is code


async def test_a_higher_number_of_another_replica_is_taken_over_once_it_was_seen(mesh: Mesh) -> None:
    early = await mesh.proxy("web")
    await early.hello("shop/web-1", generation=9)
    assert (await early.end())[0] is grpc.StatusCode.FAILED_PRECONDITION
    mesh.covered = 9
    again = await mesh.proxy("web")
    await again.hello("shop/web-1", generation=9)
    assert (await again.apply()).generation == 9


@pytest.mark.parametrize(
    "message",
    [
        {"ack": discovery_pb2.Ack(nonce=99)},
        {"nack": discovery_pb2.Nack(nonce=99)},
        {"hello": discovery_pb2.Hello(protocol=1, workloads=["shop/web-1"])},
        {},
        {"subscribe": discovery_pb2.Subscribe(destinations=[f"shop/s{number}" for number in range(10_001)])},
    ],
)
async def test_a_request_out_of_place_ends_the_stream(mesh: Mesh, message: dict[str, Any]) -> None:
    proxy = await mesh.proxy("web")
    await proxy.hello("shop/web-1")
    await proxy.change_set()
    await proxy.say(**message)
    assert (await proxy.end())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_hello_comes_first(mesh: Mesh) -> None:
    proxy = await mesh.proxy("web")
    await proxy.say(subscribe=discovery_pb2.Subscribe(destinations=["shop/stock"]))
    assert await proxy.end() == (grpc.StatusCode.INVALID_ARGUMENT, "Hello comes first")


async def test_without_a_trusted_certificate_nobody_is_served(mesh: Mesh, tmp_path: Path, connect: Channel) -> None:
    stranger = mesh.pair(SpiffeId(DOMAIN, "shop", "web"), Authority(tmp_path / "other"))
    late = mesh.pair(SpiffeId(DOMAIN, "shop", "web"), seconds=-30)
    for pair in (None, stranger, late):
        channel = await connect(mesh.address, [mesh.authority.root], str(control_plane(DOMAIN)), pair)
        proxy = Proxy(channel)
        assert (await proxy.end())[0] is grpc.StatusCode.UNAVAILABLE
    assert len(mesh.proxies) == 0


async def test_a_new_leaf_and_root_are_shown_without_a_new_listener(mesh: Mesh, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    pair = mesh.pair(control_plane(DOMAIN), other)
    mesh.identity.replace(KeyPair(pair.key, pair.chain, (mesh.authority.root, other.root)))
    mine = mesh.pair(SpiffeId(DOMAIN, "shop", "web"), other)
    mesh.authority = other
    proxy = await mesh.proxy("web", mine)
    await proxy.hello("shop/web-1")
    assert names(await proxy.apply())[0] == "MESH default"


async def test_quiet_streams_get_heartbeats_and_silent_proxies_are_dropped(
    tmp_path: Path, free_address: str, connect: Channel
) -> None:
    mesh = Mesh(tmp_path, free_address, connect, Timing(heartbeat=0.05, answer=0.3))
    await mesh.server.start()
    quiet = await mesh.proxy("web")
    await quiet.hello("shop/web-1")
    await quiet.apply()
    assert [await quiet.heartbeat() for _ in range(2)] == [7, 7]
    silent = await mesh.proxy("stock")
    await silent.hello("shop/stock-1", generation=5)
    await silent.change_set()
    assert await silent.heartbeat() == 5, "what is not acked is not in force"
    assert (await silent.end())[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await mesh.server.stop()


async def test_a_stream_ends_with_its_certificate(tmp_path: Path, free_address: str, connect: Channel) -> None:
    mesh = Mesh(tmp_path, free_address, connect, Timing(heartbeat=0.1))
    await mesh.server.start()
    proxy = await mesh.proxy("web", mesh.pair(SpiffeId(DOMAIN, "shop", "web"), seconds=2))
    await proxy.hello("shop/web-1")
    await proxy.apply()
    code, reason = await proxy.end()
    assert (code, "renew it" in reason) == (grpc.StatusCode.UNAUTHENTICATED, True)
    await mesh.server.stop()


def test_two_names_are_nobody(tmp_path: Path) -> None:
    assert identify_fails(b"")
    assert identify_fails(b"not PEM")


def identify_fails(pem: bytes) -> bool:
    from plait_controlplane.discovery.stream import Stranger

    with pytest.raises(Stranger):
        identify(pem)
    return True
