"""Verbs on a cluster: a real control plane behind an API server that knows users and lets each do what a Role says."""

import asyncio
import json
import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from aiohttp import web
from front_door import CONTROL_PLANE, FrontDoor
from plait_cli.install import rbac
from plait_cli.main import app
from typer.testing import CliRunner

TIMEOUT_SECONDS = 60.0
# Of this test alone: the port of a pod's proxy is a fixed one.
POD_IP = f"127.{random.randint(2, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"
WORLD = f"""
apiVersion: v1
kind: Service
metadata: {{name: stock, namespace: shop}}
spec: {{clusterIPs: [10.96.1.2], selector: {{app: stock}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: stock-1, namespace: shop, labels: {{app: stock, plait.dev/injected: "true"}}}}
spec: {{nodeName: n1, serviceAccountName: stock, containers: [{{name: app}}]}}
status: {{phase: Running, podIP: {POD_IP}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: stock-abc, namespace: shop, labels: {{kubernetes.io/service-name: stock}}}}
addressType: IPv4
ports: [{{name: "", port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [{POD_IP}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: stock-1}}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: stock, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: stock}}]
  rules: [{{backendRefs: [{{name: stokc, port: 80}}]}}]
"""
FIELDS = ("authority", "endpoint", "reason", "object", "sent_bytes", "received_bytes")
VIEWER = next(one["rules"] for one in rbac.roles() if one["metadata"]["name"] == "plait-viewer")


def control_plane_pod(name: str, ready: bool = True) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "plait", "app.kubernetes.io/component": "controlplane"}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "plait-system", "labels": labels},
        "spec": {
            "nodeName": "n1",
            "serviceAccountName": "plait-controlplane",
            "containers": [{"name": "controlplane"}],
        },
        "status": {"phase": "Running", "podIP": "10.244.0.9", "conditions": conditions},
    }


class Cluster:
    """The API server in a thread of its own, and the control plane as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.door = FrontDoor()
        logs = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
        self.door.users = {
            "jane": [*VIEWER, logs],
            "logless": VIEWER,
            "john": [],
            "lister": VIEWER[:1],
            "tokenless": VIEWER[:2],
        }
        self.scraped = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._runners: list[web.AppRunner] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(TIMEOUT_SECONDS)

    async def _serve(self) -> None:
        for handler, host, port in ((self.door.answer, "127.0.0.1", 0), (self._metrics, POD_IP, 15020)):
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, host, port).start()
            if not self.door.url:
                self.door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await self.door.apply(WORLD)
        await self.door.put(control_plane_pod("plait-a"))

    async def _metrics(self, request: web.Request) -> web.Response:
        assert request.path == "/metrics"
        self.scraped += 1
        labels = 'direction="outbound",source="shop/stock-1",destination="shop/stock",route=""'
        lines = [f'plait_requests_total{{{labels},code_class="2xx"}} {self.scraped * 100}']
        lines += [
            f'plait_request_duration_seconds_bucket{{{labels},le="{bound}"}} {self.scraped * 100}'
            for bound in ("0.01", "+Inf")
        ]
        inbound = 'direction="inbound",source="shop/stock",destination="shop/stock"'
        lines.append(f'plait_requests_total{{{inbound},route="",code_class="2xx"}} {self.scraped * 100}')
        lines.append(f'plait_connections_total{{{inbound},protocol="http2",tls="TLSv1.3"}} 1')
        return web.Response(text="\n".join(lines) + "\n")

    def put(self, item: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self.door.put(item), self._loop).result(TIMEOUT_SECONDS)

    def run_control_plane(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = ["serve", "--source", "kubernetes", "--kubeconfig", str(self.kubeconfig(CONTROL_PLANE))]
        command += [
            "--state",
            str(self.folder / "state"),
            "--sockets",
            str(self.folder / "s"),
            "--api-cluster",
            address,
        ]
        self.process = subprocess.Popen([sys.executable, "-m", "plait_controlplane", *command], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], TIMEOUT_SECONDS)[0], "not ready in time"
        assert self.process.stdout.readline().startswith(b"ready: discovery ")
        self.door.backends["https:plait-a:15014"] = address

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(TIMEOUT_SECONDS)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(TIMEOUT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_SECONDS)
        self._loop.close()

    async def _end(self) -> None:
        await self.door.disconnect()
        for runner in self._runners:
            await runner.cleanup()

    def kubeconfig(self, user: str) -> Path:
        file = self.folder / f"kubeconfig-{user}"
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        clusters = [{"name": "c", "cluster": {"server": self.door.url}}]
        users = [{"name": "u", "user": {"token": user}}]
        head = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        file.write_text(yaml.safe_dump({**head, "clusters": clusters, "users": users, "contexts": [context]}))
        return file

    def plait(self, *words: str, user: str = "jane") -> tuple[int, str]:
        """What the command prints, and its exit code."""
        done = CliRunner().invoke(app, [*words, "--kubeconfig", str(self.kubeconfig(user))])
        code, said = done.exit_code, done.output
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            failure: Any = done.exception
            code, said = getattr(failure, "code", 99), f"{said}{failure}\n{getattr(failure, 'hint', '')}"
        return code, said


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    found.start()
    try:
        found.run_control_plane()
        yield found
    finally:
        found.stop()


def test_status_tells_of_the_whole_mesh(cluster: Cluster) -> None:
    code, said = cluster.plait("status", "-o", "json")
    facts = json.loads(said)
    assert code == 1, "no proxy is connected"
    assert facts["replicas"] == [{"name": "plait-a", "silent": None}]
    assert [entry["name"] for entry in facts["workloads"]] == ["stock-1"]
    said = cluster.plait("status")[1]
    for words in ("MESH kubernetes", "behind: shop/stock-1", "1 of 1 ready replica answer", "! HTTPRoute shop/stock"):
        assert words in said, said
    assert "open beside" not in said


def test_stat_and_edges_read_what_proxies_count(cluster: Cluster) -> None:
    code, said = cluster.plait("stat", "-o", "json")
    (row,) = json.loads(said)["rows"]
    assert (code, row["name"], row["requests"], row["callers"]) == (0, "shop/stock", 100.0, ["shop/stock-1"])
    code, said = cluster.plait("edges", "-o", "json")
    (edge,) = json.loads(said)["edges"]
    assert (code, edge["from"], edge["to"], edge["encrypted"]) == (0, "shop/stock", "shop/stock", True)


def test_explain_decides_by_what_the_pod_is_told(cluster: Cluster) -> None:
    code, said = cluster.plait("explain", "GET", "http://stock/", "--from", "stock", "-o", "json")
    decision = json.loads(said)
    assert (code, decision["answer"]["status"]) == (0, 500), said
    said = cluster.plait("explain", "GET", "http://stock/", "--from", "stock")[1]
    assert "HTTPRoute shop/stock" in said
    assert "By what the control plane tells the proxy" in said


def test_lint_tells_what_is_wrong_on_the_cluster(cluster: Cluster) -> None:
    code, said = cluster.plait("lint")
    assert code == 1
    assert "✗ HTTPRoute shop/stock   spec.rules[0].backendRefs[0].name" in said
    assert "did you mean" in said
    assert "1 problem in 2 objects of the cluster." in said


def test_tap_reads_the_access_log_of_pods(cluster: Cluster) -> None:
    called: dict[str, Any] = dict.fromkeys(FIELDS)
    called |= {"time": "2026-11-24T10:00:00.000Z", "direction": "outbound", "source": "shop/stock-1"}
    called |= {"destination": "shop/stock", "protocol": "http1", "method": "GET", "path": "/a", "status": 200}
    called |= {"duration_ms": 1.5, "attempts": 1}
    inbound = {**called, "direction": "inbound", "path": "/b"}
    for expected, words in (("/a", ()), ("/b", ("--inbound",))):
        cluster.door.logs["shop/stock-1"] = ["INFO listening", "{broken", json.dumps(called), json.dumps(inbound)]
        code, said = cluster.plait("tap", "-n", "1", "-o", "json", "--for", str(TIMEOUT_SECONDS), *words)
        assert code == 0, said
        line = json.loads(said)
        assert (line["path"], "account" in line) == (expected, False)


def test_tap_without_the_right_to_logs_is_refused(cluster: Cluster) -> None:
    code, said = cluster.plait("tap", "--for", str(TIMEOUT_SECONDS), user="logless")
    assert (code, "you may not get pods/log in shop" in said, "--clusterrole=view" in said) == (1, True, True), said


@pytest.mark.parametrize(
    ("user", "code", "words"),
    [
        ("john", 1, "you may not list pods in plait-system"),
        ("lister", 1, "you may not create serviceaccounts/token of plait-viewer in plait-system"),
        ("nobody", 1, "the cluster does not know you"),
    ],
)
def test_a_right_that_is_missing_is_named(cluster: Cluster, user: str, code: int, words: str) -> None:
    found, said = cluster.plait("status", user=user)
    assert (found, words in said) == (code, True), said
    if user != "nobody":
        assert "create rolebinding NAME --role=plait-viewer --user=YOU" in said


def test_what_reaches_the_control_plane_without_a_token_of_viewers_is_refused(cluster: Cluster) -> None:
    address = cluster.door.backends["https:plait-a:15014"]
    for shown in ("", "jane", "never.made.here"):
        command = [
            "curl",
            "-sk",
            "-m",
            "30",
            "-H",
            f"plait-authorization: Bearer {shown}",
            f"https://{address}/v1/mesh",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "trust_domain" not in done.stdout
        assert json.loads(done.stdout)["detail"]
    assert "Authorization" not in cluster.door.passed


def test_a_silent_replica_is_told_and_another_asked(cluster: Cluster) -> None:
    cluster.put(control_plane_pod("plait-0"))  # first by name, and nobody answers there
    cluster.put(control_plane_pod("plait-z", ready=False))
    try:
        said = " ".join(cluster.plait("status")[1].split())
        assert "1 of 2 ready replicas answer" in said
        assert "plait-0: error trying to reach service" in said
        assert cluster.plait("lint")[0] == 1
    finally:
        del cluster.door.objects["Pod", "plait-system", "plait-0"]
        del cluster.door.objects["Pod", "plait-system", "plait-z"]


def test_a_cluster_without_a_mesh_or_without_a_ready_replica_is_told(cluster: Cluster) -> None:
    pod = cluster.door.objects.pop(("Pod", "plait-system", "plait-a"))
    try:
        code, said = cluster.plait("status")
        assert (code, "has no mesh in plait-system" in said, "plait install" in said) == (3, True, True), said
        cluster.put(control_plane_pod("plait-a", ready=False))
        code, said = cluster.plait("status")
        assert (code, "the control plane is away" in said) == (3, True), said
        assert cluster.plait("stat")[0] == 3
    finally:
        cluster.door.objects["Pod", "plait-system", "plait-a"] = pod


def test_no_way_to_a_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = CliRunner().invoke(app, ["status", "--cluster"])
    failure: Any = done.exception
    assert (failure.code, "--kubeconfig" in failure.hint) == (3, True), done.exception
    done = CliRunner().invoke(app, ["status", "--cluster", "--mesh", "bookshop"])
    assert (getattr(done.exception, "code", None), os.environ.get("PLAIT_MESH")) == (2, None)
