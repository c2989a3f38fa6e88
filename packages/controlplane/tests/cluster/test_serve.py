"""`serve --source kubernetes` as real processes beside an API server of our own: objects in, resources out."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_apiserver import FakeApiServer, serving
from plait_sdk.contracts import discovery_pb2, endpoint_pb2, resource_pb2, service_pb2

TIMEOUT_SECONDS = 30.0
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {clusterIPs: [10.96.1.2], selector: {app: stock}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stock-1, namespace: shop, labels: {app: stock, plait.dev/injected: "true"}}
spec: {nodeName: n1, serviceAccountName: stock, containers: [{name: app}]}
status: {phase: Running, podIP: 10.244.0.7}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: stock-abc, namespace: shop, labels: {kubernetes.io/service-name: stock}}
addressType: IPv4
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.0.7], conditions: {ready: true}, targetRef: {kind: Pod, name: stock-1}}]
"""


class Serve:
    """The command."""

    def __init__(self, folder: Path, fake: FakeApiServer) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        user, cluster = "{name: u, user: {token: t}}", f"{{name: c, cluster: {{server: {fake.url!r}}}}}"
        self.kubeconfig.write_text(
            f"{{apiVersion: v1, kind: Config, clusters: [{cluster}], users: [{user}],"
            " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        folders = ["--state", str(self.folder / "state"), "--sockets", str(self.folder / "s")]
        command = ["serve", "--source", "kubernetes", "--kubeconfig", str(self.kubeconfig), *folders]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "plait_controlplane", *command, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), TIMEOUT_SECONDS)
        assert line.startswith(b"ready: discovery "), line

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), TIMEOUT_SECONDS)

    async def ask(self, path: str) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / "s" / "api.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://plait") as api:
            return await api.get(path)

    async def until(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Waits for what /v1/mesh says."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not true((await self.ask("/v1/mesh")).json()):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)

    async def resources(self, workload: str) -> dict[tuple[int, str], bytes]:
        said = await self.ask(f"/v1/resources?workload={workload}")
        found = discovery_pb2.ChangeSet.FromString(said.content)
        return {(one.kind, one.name): one.body for one in found.upserts}


@pytest.fixture
async def fake() -> AsyncIterator[FakeApiServer]:
    async with serving() as server:
        await server.apply(OBJECTS)
        yield server


@pytest.fixture
async def serve(tmp_path: Path, fake: FakeApiServer) -> AsyncIterator[Serve]:
    serve = Serve(tmp_path, fake)
    yield serve
    await serve.stop()


async def test_a_cluster_is_served_followed_and_survived(fake: FakeApiServer, serve: Serve) -> None:
    newest = fake.version
    await serve.start()
    found = await serve.resources("shop/stock-1")
    service = service_pb2.Service.FromString(found[resource_pb2.RESOURCE_KIND_SERVICE, "shop/stock"])
    assert list(service.addresses) == ["10.96.1.2"]
    endpoints = endpoint_pb2.Endpoints.FromString(found[resource_pb2.RESOURCE_KIND_ENDPOINTS, "shop/stock"])
    assert [(one.address, one.identity) for one in endpoints.ports[0].endpoints] == [
        ("10.244.0.7:15006", "spiffe://cluster.local/ns/shop/sa/stock")
    ]
    first = (await serve.ask("/v1/mesh")).json()
    number = first["generation"]
    assert (number, first["change"]) == (newest, "added Service shop/stock; pods came: shop/stock-1")
    await fake.apply(
        """
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {name: stock, namespace: shop}
        spec:
          parentRefs: [{group: "", kind: Service, name: stock}]
          rules: [{backendRefs: [{name: stock, port: 80}]}]
        """
    )
    await serve.until(lambda mesh: bool(mesh["change"] == "added HTTPRoute shop/stock"))
    assert (await serve.ask("/v1/mesh")).json()["generation"] > newest
    assert (resource_pb2.RESOURCE_KIND_ROUTE, "HTTPRoute/shop/stock") in await serve.resources("shop/stock-1")
    await serve.until(lambda mesh: "parents" in fake.status("HTTPRoute", "shop", "stock"))
    said = fake.status("HTTPRoute", "shop", "stock")["parents"][0]["conditions"]
    assert {one["type"]: one["status"] for one in said} == dict.fromkeys(
        ("Accepted", "ResolvedRefs", "Programmed"), "True"
    )
    await serve.stop()
    assert fake.objects["Lease", "plait-system", "plait-status"]["spec"]["holderIdentity"] == ""
    await serve.start()
    assert (await serve.ask("/v1/mesh")).json()["generation"] >= number
