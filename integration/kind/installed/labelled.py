"""Owns the shop of this folder on a cluster where `plait install` put the mesh. Called by the fixture and its tests."""

import base64
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import Cluster
from tools import Failed, run

HERE = Path(__file__).parent
PATIENCE_SECONDS = 240.0
PAUSE_SECONDS = 0.5
SHOP, SYSTEM = ("-n", "shop"), ("-n", "plait-system")
IMAGE = "python:3.11-slim-bookworm"
URL = "http://reviews/"


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"within {PATIENCE_SECONDS:g} s it did not happen that {what}"
        time.sleep(PAUSE_SECONDS)


class Load:
    """Calls that go on in a pod until `end`."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> Counter[str]:
        """How often each answer came."""
        out, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return Counter(json.loads(out))


class Shop:
    """Use: `start`, later `remove`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def plait(self, *words: str) -> str:
        """What the command printed; raises Failed."""
        command = [Path(sys.executable).parent / "plait", *words, "--kubeconfig", str(self.cluster.kubeconfig)]
        return run(*command, seconds=PATIENCE_SECONDS * 2)

    def start(self) -> None:
        """The mesh, the shop, and a pod of each kind; returns when all are ready."""
        self._clear()
        self.plait("install", "--image-tag", "dev", "--timeout", str(PATIENCE_SECONDS))
        self.apply((HERE / "shop.yaml").read_text())
        self.cluster.kubectl("create", "namespace", "outside")
        for namespace in ("shop", "outside"):
            self.configmap(namespace)
        for name, account in (("web-1", "web"), ("guest-1", "default"), ("reviews-1", "reviews")):
            self.pod(name, account)
        self.pod("stranger-1", "default", "outside")
        self.ready("shop")
        self.ready("outside")

    def remove(self) -> None:
        """Takes all of it away, and tells what the parts said (pytest shows it when a test failed)."""
        for words in (
            (*SYSTEM, "logs", "deployment/plait-controlplane", "--tail=60"),
            *((*SHOP, "logs", name, "-c", "plait-proxy", "--tail=10") for name in ("web-1", "reviews-1")),
        ):
            try:
                print(f"--- {' '.join(words)}\n{self.cluster.kubectl(*words, seconds=30)}")
            except Failed as error:
                print(error)
        self._clear()

    def apply(self, text: str) -> str:
        """What kubectl says; raises Failed with what the API server refused."""
        return self.cluster.kubectl("apply", "-f", "-", given=text)

    def configmap(self, namespace: str) -> None:
        """The program of the pods."""
        metadata = {"name": "app", "namespace": namespace}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        self.apply(json.dumps({**made, "data": {"app.py": (HERE / "app.py").read_text()}}))

    def described(self, name: str, *words: str) -> dict[str, Any]:
        """The spec of a pod as its owner writes it: without a word of the mesh."""
        container = {
            "name": "app",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "/app/app.py", *(words or ("serve", name))],
            "volumeMounts": [{"name": "app", "mountPath": "/app"}],
        }
        if not words:
            container["ports"] = [{"name": "http", "containerPort": 8080}]
            container["startupProbe"] = {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 60}
            container["readinessProbe"] = {"httpGet": {"port": "http", "path": "/ready"}, "periodSeconds": 1}
        volumes = [{"name": "app", "configMap": {"name": "app"}}]
        return {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 5}

    def pod(self, name: str, account: str, namespace: str = "shop", **labels: str) -> None:
        """A pod that serves; its app is its name without the number."""
        metadata = {"name": name, "namespace": namespace, "labels": {"app": name.rpartition("-")[0], **labels}}
        spec = {**self.described(name), "serviceAccountName": account}
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))

    def asked(self) -> None:
        """Asks for a pod without making it: webhooks are called all the same. Raises Failed when it is refused."""
        metadata = {"name": "asked-1", "namespace": "shop"}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.described("asked-1")}
        self.cluster.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(made))

    def injects(self) -> bool:
        """Whether the API server reaches injection."""
        try:
            self.asked()
        except Failed as error:
            if "failed calling webhook" not in str(error):
                raise
            return False
        return True

    def job(self, name: str) -> None:
        """A Job that calls reviews as web and ends."""
        spec = {**self.described(name, "call", URL, "20"), "serviceAccountName": "web", "restartPolicy": "Never"}
        metadata = {"name": name, "namespace": "shop"}
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
        self.apply(json.dumps({**made, "spec": {"backoffLimit": 0, "template": {"spec": spec}}}))

    def ready(self, namespace: str) -> None:
        """Waits for every pod."""
        words = ("wait", "--for=condition=Ready", "pod", "--all", f"--timeout={PATIENCE_SECONDS:g}s")
        self.cluster.kubectl("-n", namespace, *words)

    def get(self, *words: str) -> dict[str, Any]:
        """An object."""
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", *words, "-o", "json"))
        return found

    def call(self, pod: str, url: str = URL, count: int = 1, namespace: str = "shop") -> Counter[str]:
        """Calls, by answer."""
        return Counter(json.loads(run(*self._program(pod, namespace, "call", url, str(count)))))

    def load(self, pod: str) -> Load:
        """Calls of reviews that go on."""
        return Load(self._program(pod, "shop", "load", URL))

    def log(self, pod: str) -> list[dict[str, Any]]:
        """The access log of the pod's proxy."""
        lines = self.cluster.kubectl(*SHOP, "logs", pod, "-c", "plait-proxy").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def bundle(self) -> list[str]:
        """The roots that the API server knows our webhooks by."""
        found = self.get("mutatingwebhookconfiguration", "plait-injection")
        pem = base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"]).decode()
        return [f"{part}-----END CERTIFICATE-----\n".lstrip() for part in pem.split("-----END CERTIFICATE-----")[:-1]]

    def _program(self, pod: str, namespace: str, *words: str) -> list[str]:
        where = ("-n", namespace, "exec", "-i", pod, "-c", "app")
        return self.cluster.command(*where, "--", "python3", "/app/app.py", *words)

    def _clear(self) -> None:
        self.plait("uninstall", "--timeout", str(PATIENCE_SECONDS))
        gone = ("--ignore-not-found", f"--timeout={PATIENCE_SECONDS:g}s")
        self.cluster.kubectl("delete", "namespace", "shop", "outside", "strict", *gone)
