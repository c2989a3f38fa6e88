"""The verbs against an API server that is a fake: put there, checked, taken away, and all of it a second time."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from objectstore import ObjectStore, failure, merged
from plait_cli.install.cluster import path
from plait_cli.install.manifests import control_plane, everything, hooks
from plait_cli.install.settings import Settings
from plait_cli.main import app
from typer.testing import CliRunner

DEPLOYMENT = "/apis/apps/v1/namespaces/plait-system/deployments/plait-controlplane"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
READY = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


class Cluster(ObjectStore):
    """Controllers included: what is applied becomes ready at once, unless `is_broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.kubeconfig = Path()
        self.objects["/version"] = {"gitVersion": "v1.34.4"}
        for route in ("httproutes", "grpcroutes", "tlsroutes", "tcproutes"):
            notes = {f"gateway.networking.k8s.io/{key}": value for key, value in VERSIONS.items()}
            self.objects[f"{CRDS}/{route}.gateway.networking.k8s.io"] = {"metadata": {"annotations": notes}}
        self.answers[("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")] = lambda _: (
            201,
            {"status": {"allowed": True}},
        )

    def _plain(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, answer = super()._plain(method, path, body)
        if method == "PATCH":
            self._control(path, answer)
        return status, answer

    def _control(self, path: str, one: dict[str, Any]) -> None:
        match one.get("kind"):
            case "Deployment":
                one["metadata"]["generation"] = 1
                one["status"] = {"observedGeneration": 1, "updatedReplicas": 2} if self.is_broken else READY
            case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
                for hook in one["webhooks"]:
                    hook["clientConfig"]["caBundle"] = "Zm9v"
            case "CustomResourceDefinition":
                one["status"] = {"conditions": [{"type": "Established", "status": "True"}]}

    def plait(self, *words: str) -> tuple[int, str]:
        """What the command prints, and its exit code; a Failure is 1."""
        done = CliRunner().invoke(app, [*words, "--kubeconfig", str(self.kubeconfig)])
        return done.exit_code, done.output + (str(done.exception) if done.exception else "")

    def pod(self, name: str, namespace: str = "shop", **labels: str) -> dict[str, Any]:
        made: dict[str, Any] = {
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": [{"name": "app"}]},
            "status": {"phase": "Running"},
        }
        pods = self.objects.setdefault("/api/v1/pods", {"items": []})["items"]
        pods.append(made)
        return made


VERSIONS = {"bundle-version": "v1.6.3", "channel": "standard"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Served by a thread: the command has a loop of its own."""
    found = Cluster()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    started: asyncio.Future[None] = loop.create_future()

    async def serve() -> None:
        async with found.serve():
            started.set_result(None)
            await ended.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()

    async def wait() -> None:
        await started

    asyncio.run_coroutine_threadsafe(wait(), loop).result(30)
    found.kubeconfig = tmp_path / "kubeconfig"
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    found.kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": found.url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [context],
            }
        )
    )
    yield found
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    loop.close()


def test_installed_checked_installed_again_and_gone(cluster: Cluster) -> None:
    before = set(cluster.objects)
    code, said = cluster.plait("check")
    assert (code, "there is none on this cluster" in said) == (1, True), said
    code, said = cluster.plait("install", "--image-tag", "7")
    assert code == 0, said
    assert {path(one) for one in everything(Settings())} <= set(cluster.objects)
    assert "plait/controlplane:7" in json.dumps(cluster.objects[DEPLOYMENT])
    assert "✓ control plane" in said
    assert "Next: kubectl label namespace" in said
    installed = json.dumps({key: _plain(one) for key, one in cluster.objects.items()})
    assert cluster.plait("install", "--image-tag", "7")[0] == 0
    assert json.dumps({key: _plain(one) for key, one in cluster.objects.items()}) == installed
    code, said = cluster.plait("check")
    assert code == 0, said
    deployment = cluster.objects.pop(DEPLOYMENT)
    code, said = cluster.plait("check")
    assert (code, "✗ objects        Deployment plait-controlplane" in said) == (1, True), said
    cluster.objects[DEPLOYMENT] = deployment
    code, said = cluster.plait("uninstall")
    assert code == 0, said
    assert set(cluster.objects) == before
    assert "nothing to remove" in cluster.plait("uninstall")[1]


def _plain(one: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (one.get("metadata") or {}).items() if key != "resourceVersion"}
    return merged(one, {"metadata": None}) | {"metadata": metadata}


def test_webhooks_come_before_what_they_guard_starts_and_go_first(cluster: Cluster) -> None:
    assert cluster.plait("install")[0] == 0
    paths = [path for method, path in cluster.asked if method == "PATCH"]
    assert paths.index(path(hooks()[0])) < paths.index(DEPLOYMENT)
    cluster.asked.clear()
    assert cluster.plait("uninstall")[0] == 0
    deleted = [path for method, path in cluster.asked if method == "DELETE"]
    assert set(deleted[:2]) == {path(one) for one in hooks()}


def test_a_control_plane_that_does_not_start_is_told_with_the_reason(cluster: Cluster) -> None:
    cluster.is_broken = True
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    pod = {"metadata": {"name": "plait-1"}, "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}
    cluster.objects["/api/v1/namespaces/plait-system/pods"] = {"items": [pod]}
    code, said = cluster.plait("install", "--timeout", "0.1")
    assert code == 1
    assert "the control plane is not ready within 0.1 s: 0 of 2 ready; plait-1: ErrImagePull no such image" in said


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({}, 0, "v1.6.3, standard channel"),
        ({"/version": {"gitVersion": "v1.28.9"}}, 1, "v1.28.9 is too old"),
        ({f"{CRDS}/tcproutes.gateway.networking.k8s.io": None}, 0, "without tcproutes"),
    ],
)
def test_what_a_cluster_must_have(cluster: Cluster, changed: dict[str, Any], code: int, words: str) -> None:
    for key, one in changed.items():
        cluster.objects.pop(key)
        if one is not None:
            cluster.objects[key] = one
    found, said = cluster.plait("check", "--pre")
    assert (found, words in said) == (code, True), said
    found, said = cluster.plait("check", "--pre", "-o", "json")
    facts = json.loads(said.removesuffix("1"))["checks"]
    assert {one["state"] for one in facts} <= {"passed", "warning", "failed"}
    assert any(words in one["said"] for one in facts)


def test_a_pod_that_slipped_past_injection_is_named(cluster: Cluster) -> None:
    assert cluster.plait("install")[0] == 0
    cluster.objects["/api/v1/namespaces/shop"] = {
        "metadata": {"name": "shop", "labels": {"plait.dev/inject": "enabled"}}
    }
    cluster.pod("in")["spec"]["initContainers"] = [{"name": "plait-proxy", "image": "plait/proxy:1"}]
    cluster.pod("out", **{"plait.dev/inject": "disabled"})
    cluster.pod("host")["spec"]["hostNetwork"] = True
    cluster.pod("done")["status"]["phase"] = "Succeeded"
    cluster.pod("elsewhere", namespace="other")
    assert cluster.plait("check")[0] == 0
    cluster.pod("slipped")
    code, said = cluster.plait("check")
    assert (code, "1 without a proxy: shop/slipped" in said) == (1, True), said


def test_an_upgrade_needs_a_mesh_and_tells_of_older_proxies(cluster: Cluster) -> None:
    code, said = cluster.plait("upgrade")
    assert (code, "there is no mesh on this cluster to upgrade" in said) == (1, True)
    assert cluster.plait("install", "--image-tag", "1")[0] == 0
    cluster.pod("web")["spec"]["initContainers"] = [{"name": "plait-proxy", "image": "plait/proxy:1"}]
    code, said = cluster.plait("upgrade", "--image-tag", "2")
    assert (code, "1 pod with another proxy: shop/web" in said) == (0, True), said


def test_a_cluster_that_refuses_or_is_away_is_told(cluster: Cluster) -> None:
    cluster.answers[("GET", "/version")] = lambda _: failure(403, "Forbidden", "you may not")
    assert "the API server refuses: you may not" in cluster.plait("install")[1]
    cluster.answers[("GET", "/version")] = lambda _: failure(503, "Unavailable", "not now")
    assert "not now" in cluster.plait("install")[1]


def test_without_a_cluster_the_objects_are_printed(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["install", "--dry-run", "-o", "yaml"])
    assert list(yaml.safe_load_all(done.output)) == everything(Settings())
    assert control_plane(Settings())
