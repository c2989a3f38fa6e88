"""`plait-controlplane serve` as real processes: from a directory of YAML to a proxy that is current, and back again."""

import asyncio
import base64
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from plait_controlplane.identity.credentials import KeyPair
from plait_sdk.contracts import (
    discovery_pb2,
    discovery_pb2_grpc,
    endpoint_pb2,
    resource_pb2,
)
from serving import OBJECTS, OWN, TIMEOUT_SECONDS, Channel, Serve, enrol


def listens(path: Path) -> bool:
    """Whether somebody is there: the socket of a process that was killed stays where it was."""
    with socket.socket(socket.AF_UNIX) as dialling:
        return dialling.connect_ex(str(path)) == 0


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    serve = Serve(tmp_path)
    yield serve
    await serve.stop()


async def watch(serve: Serve, connect: Channel, pair: KeyPair, **hello: Any) -> Any:
    address = (await serve.ask("/v1/mesh"))["discovery"]
    stub: Any = discovery_pb2_grpc.DiscoveryStub(await connect(address, list(pair.roots), OWN, pair))
    call = stub.Watch()
    fields = {"proxy": "stock-1", "protocol": 1, "workloads": ["shop/stock-1"], "destinations": ["shop/stock"], **hello}
    await call.write(discovery_pb2.WatchRequest(hello=discovery_pb2.Hello(**fields)))
    return call


async def apply(call: Any) -> discovery_pb2.ChangeSet:
    answer = await asyncio.wait_for(call.read(), TIMEOUT_SECONDS)
    change_set: discovery_pb2.ChangeSet = answer.change_set
    ack = discovery_pb2.Ack(nonce=change_set.nonce, generation=change_set.generation)
    await call.write(discovery_pb2.WatchRequest(ack=ack))
    return change_set


async def test_a_proxy_joins_is_current_and_sees_one_change_set_a_save(serve: Serve, connect: Channel) -> None:
    await serve.start()
    call = await watch(serve, connect, await enrol(serve, connect))
    first = await apply(call)
    assert (first.generation, list(first.known)) == (1, ["shop/stock"])

    async def current() -> bool:
        proxies = await serve.ask("/v1/proxies")
        return [(one["proxy"], one["generation"], one["current"]) for one in proxies] == [("stock-1", 1, True)]

    await serve.until(current)
    serve.file.write_text(OBJECTS.replace("weight: 1", "weight: 7"))
    second = await apply(call)
    assert [(one.kind, one.name) for one in second.upserts] == [
        (resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/stock")
    ]
    assert (second.generation, len(second.removals)) == (2, 0)
    assert (await serve.ask("/v1/mesh"))["change"] == "all.yaml changed HTTPRoute shop/stock"
    assert await serve.stop() == 0


async def test_a_proxy_is_called_where_it_said_also_after_a_restart(serve: Serve, connect: Channel) -> None:
    serve.file.write_text(OBJECTS.replace("8080}]", "8080}], sidecar: {inbound: '0.0.0.0:15006'}"))
    await serve.start()
    pair = await enrol(serve, connect)

    def called(change_set: discovery_pb2.ChangeSet) -> list[str]:
        bodies = (one.body for one in change_set.upserts if one.kind == resource_pb2.RESOURCE_KIND_ENDPOINTS)
        groups = (group for body in bodies for group in endpoint_pb2.Endpoints.FromString(body).ports)
        return [endpoint.address for group in groups for endpoint in group.endpoints]

    call = await watch(serve, connect, pair, address="10.244.0.7")
    first = await apply(call)
    assert (first.generation, called(first)) == (2, ["10.244.0.7:15006"])
    assert (await serve.ask("/v1/mesh"))["change"] == "shop/stock-1 said to be reached at 10.244.0.7"
    await serve.stop()
    await serve.start()
    assert serve.ready.endswith("generation 2")
    assert called(await apply(await watch(serve, connect, pair))) == ["10.244.0.7:15006"]


async def test_who_holds_a_token_finds_the_way_to_the_advertised_host(serve: Serve, connect: Channel) -> None:
    await serve.start("--advertise", "localhost")
    assert (await serve.ask("/v1/mesh"))["discovery"].startswith("localhost:")
    command = ["join-token", "--sockets", str(serve.sockets), "--workload"]

    async def token(workload: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "plait_controlplane", *command, workload,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, error = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        return process.returncode, out.decode(), error.decode()

    code, printed, _ = await token("shop/stock-1")
    payload = printed.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (code, said["workload"], said["identity"].startswith("localhost:")) == (0, "shop/stock-1", True)
    code, printed, error = await token("shop/nobody")
    assert (code, printed) == (1, "")
    assert "the mesh has no Workload shop/nobody" in error


POLICY = """
apiVersion: plait.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {action: Allow, rules: [{to: [{methods: [GET]}]}]}
"""


async def test_a_save_of_several_files_is_one_change_set(serve: Serve, connect: Channel) -> None:
    await serve.start()
    call = await watch(serve, connect, await enrol(serve, connect))
    await apply(call)
    route, service, workload = OBJECTS.split("---")[2], *OBJECTS.split("---")[:2]
    with serve.file.open("w") as writer:  # a writer is waited for, so that a slow machine makes no two saves of it
        (serve.source / "route.yaml").write_text(route.replace("weight: 1", "weight: 7"))
        (serve.source / "policy.yaml").write_text(POLICY)
        writer.write(f"{service.replace('port: 80', 'port: 81')}---{workload.replace('8080', '8081')}")
    change_set = await apply(call)
    assert (change_set.generation, len(change_set.removals)) == (2, 0)
    assert {one.kind for one in change_set.upserts} == {
        resource_pb2.RESOURCE_KIND_SERVICE,
        resource_pb2.RESOURCE_KIND_ENDPOINTS,
        resource_pb2.RESOURCE_KIND_ROUTE,
        resource_pb2.RESOURCE_KIND_POLICY,
        resource_pb2.RESOURCE_KIND_WORKLOAD,
    }
    # The next generation is the next save: nothing came between.
    (serve.source / "route.yaml").write_text(route)
    change_set = await apply(call)
    assert (change_set.generation, [one.kind for one in change_set.upserts]) == (3, [resource_pb2.RESOURCE_KIND_ROUTE])


async def test_half_a_file_is_never_applied(serve: Serve, connect: Channel) -> None:
    await serve.start()
    call = await watch(serve, connect, await enrol(serve, connect))
    await apply(call)

    async def told() -> bool:
        objects = await serve.ask("/v1/objects")
        return {(one["kind"], one["status"]) for one in objects} == {
            ("File", "Refused"), ("HTTPRoute", "Stale"), ("Service", "Stale"), ("Workload", "Stale")}  # fmt: skip

    text = OBJECTS.replace("weight: 1", "weight: 7")
    half = text.index("---")  # sound by itself: a Service alone
    with serve.file.open("w") as writer:
        writer.write(text[:half])
        writer.flush()
        await serve.until(told)  # longer than a writer is waited for
        assert await serve.generation() == 1
        writer.write(text[half:])
    change_set = await apply(call)
    assert (change_set.generation, len(change_set.removals)) == (2, 0)
    assert [one.kind for one in change_set.upserts] == [resource_pb2.RESOURCE_KIND_ROUTE]
    assert {one["status"] for one in await serve.ask("/v1/objects")} == {"Accepted"}


async def test_a_restart_over_broken_files_goes_on_where_it_was(serve: Serve, connect: Channel) -> None:
    await serve.start()
    ready = serve.ready
    pair = await enrol(serve, connect)
    had = await apply(await watch(serve, connect, pair))
    await serve.stop()
    serve.file.write_text(OBJECTS.replace("weight: 1", "wieght: 1"))
    await serve.start()
    assert serve.ready == ready, "same ports, same generation"
    held = [resource_pb2.ResourceVersion(kind=one.kind, name=one.name, version=one.version) for one in had.upserts]
    call = await watch(serve, connect, pair, held=held, generation=1)
    again = await apply(call)
    assert (len(again.upserts), len(again.removals), list(again.known)) == (0, 0, ["shop/stock"])
    objects = {one["kind"]: one for one in await serve.ask("/v1/objects")}
    assert {kind: one["status"] for kind, one in objects.items()} == {
        "HTTPRoute": "Stale", "Service": "Accepted", "Workload": "Accepted"}  # fmt: skip
    problem = objects["HTTPRoute"]["problems"][0]
    assert 'did you mean "weight"' in problem["message"]
    assert (problem["line"], problem["path"]) == (17, "spec.rules[0].backendRefs[0].wieght")
    serve.file.write_text(OBJECTS.replace("weight: 1", "weight: 9"))
    assert (await apply(call)).generation == 2
    await serve.stop()
    await serve.start()
    assert serve.ready.endswith("generation 2")


async def test_nothing_begins_before_every_file_can_be_read(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    serve.file.write_text(OBJECTS + "---\n\tnot: YAML\n")
    starting = asyncio.create_task(serve.start())
    said = ""

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "nothing is served before it can be read" in said

    await serve.until(told)
    assert f"{serve.file}:{len(OBJECTS.splitlines()) + 2}:" in said, said
    assert not starting.done()
    assert not (serve.state / "generation.json").exists()
    serve.file.write_text(OBJECTS)
    await starting
    assert serve.ready.endswith("generation 1")
    await serve.stop()
    serve.file.write_text("{")
    await serve.start()
    assert serve.ready.endswith("generation 1"), "what was in force once goes on"


async def test_a_root_that_is_added_reaches_the_proxies(serve: Serve, connect: Channel, tmp_path: Path) -> None:
    from plait_controlplane.identity.authority import Authority

    await serve.start()
    call = await watch(serve, connect, await enrol(serve, connect))
    await apply(call)
    (serve.state / "ca" / "roots").mkdir()
    other = Authority(tmp_path / "other")
    (serve.state / "ca" / "roots" / "other.pem").write_bytes((other.folder / "root.pem").read_bytes())
    change_set = await apply(call)
    assert [(one.kind, one.name) for one in change_set.upserts] == [(resource_pb2.RESOURCE_KIND_MESH, "default")]


async def test_children_come_back_and_leave_no_orphan(serve: Serve, connect: Channel) -> None:
    await serve.start()
    before = serve.children()
    assert sorted(before) == ["discovery", "signer"]
    os.kill(before["signer"], signal.SIGKILL)
    await serve.until(lambda: serve.children().get("signer", before["signer"]) != before["signer"])
    await serve.until(lambda: listens(serve.sockets / "signer.sock"))
    await enrol(serve, connect)
    os.kill(before["discovery"], signal.SIGKILL)
    await serve.wait_ready()
    await enrol(serve, connect)
    assert await serve.stop(signal.SIGKILL) == -signal.SIGKILL


async def test_the_api_over_tcp_wants_its_token(serve: Serve, tmp_path: Path, free_address: str) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    await serve.start("--api-listen", free_address, "--api-token-file", str(file))
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://{free_address}") as api:
        assert (await api.get("/v1/mesh")).status_code == 401
        headers = {"authorization": f"Bearer {file.read_text().strip()}"}
        assert (await api.get("/v1/mesh", headers=headers)).json()["name"] == "shop"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--source", "/nowhere"], 1, "/nowhere is no folder"),
        (["--source", "/tmp", "--api-listen", "127.0.0.1:1"], 1, "needs --api-token-file"),
        (["--source", "/tmp", "--host", "0.0.0.0"], 1, "needs --advertise"),
        ([], 2, "--source"),
    ],
)
async def test_what_cannot_start_says_why(options: list[str], code: int, said: str, tmp_path: Path) -> None:
    folders = ["--state", str(tmp_path / "state"), "--sockets", str(tmp_path / "s")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "plait_controlplane", "serve", *options, *folders, stderr=asyncio.subprocess.PIPE
    )
    _, error = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    assert (process.returncode, said in error.decode()) == (code, True), error.decode()
