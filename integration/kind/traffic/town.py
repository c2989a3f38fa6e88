"""Owns the Deployments of this folder on a cluster where `plait install` put the mesh. Called by fixture and tests."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cluster import Cluster
from tools import Failed, run

HERE = Path(__file__).parent
PATIENCE_SECONDS = 240.0
PAUSE_SECONDS = 0.5
IMAGE = "python:3.11-slim-bookworm"
NAMESPACES = ("town", "suburb", "outskirts")
COUNTS = "/tmp/counts"
LABEL = "plait.dev/inject=enabled"
DEPLOYMENTS = {
    "web": ("town", 1),
    "reviews-v1": ("town", 2),
    "reviews-v2": ("town", 1),
    "neighbour": ("suburb", 1),
    "stranger": ("outskirts", 1),
    "tap": ("outskirts", 1),
}


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails at the deadline."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"within {PATIENCE_SECONDS:g} s it did not happen that {what}"
        time.sleep(PAUSE_SECONDS)


class Going:
    """A program in a pod that goes on until `end`."""

    def __init__(self, command: list[str], first_line: str = "") -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if first_line:
            assert self._process.stdout is not None
            assert self._process.stdout.readline().strip() == first_line

    def end(self) -> Counter[str]:
        """What it counted."""
        out, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return Counter(json.loads(out))


class Town:
    """Use: `start`, later `remove`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self) -> None:
        """The mesh, and Deployments that are not in it yet; returns when all are ready."""
        self._clear()
        self.plait("install", "--image-tag", "dev")
        self.apply((HERE / "town.yaml").read_text())
        for namespace in NAMESPACES:
            metadata = {"name": "app", "namespace": namespace}
            text = (HERE / "app.py").read_text()
            self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"app.py": text}})
        for name in DEPLOYMENTS:
            self.apply(deployment(name))
        self.ready()

    def remove(self) -> None:
        """Takes all of it away, and tells what the parts said (pytest shows it when a test failed)."""
        words = ("-n", "plait-system", "logs", "deployment/plait-controlplane", "--tail=60")
        try:
            print(f"--- {' '.join(words)}\n{self.cluster.kubectl(*words, seconds=30)}")
            for name in ("web", "reviews-v1"):
                log = ("-n", "town", "logs", f"deployment/{name}", "-c", "plait-proxy", "--tail=10")
                print(f"--- {name}\n{self.cluster.kubectl(*log, seconds=30)}")
        except Failed as error:
            print(error)
        self._clear()
        self.plait("uninstall")

    def plait(self, *words: str) -> str:
        """What the command printed; raises Failed."""
        command = Path(sys.executable).with_name("plait")
        return run(command, *words, "--kubeconfig", self.cluster.kubeconfig, seconds=600)

    def enrol(self) -> None:
        """Labels the namespaces and rolls their pods, as a user does."""
        for namespace in ("town", "suburb"):
            self.cluster.kubectl("label", "namespace", namespace, LABEL)
            self.cluster.kubectl("-n", namespace, "rollout", "restart", "deployment")
        self.ready()

    def ready(self) -> None:
        """Returns when every Deployment runs as it stands."""
        for name, (namespace, _) in DEPLOYMENTS.items():
            self.rolled(name, namespace)

    def rolled(self, name: str, namespace: str) -> None:
        """Returns when the roll of one is over."""
        self.cluster.kubectl(
            "-n", namespace, "rollout", "status", f"deployment/{name}", f"--timeout={PATIENCE_SECONDS:g}s"
        )

    def apply(self, what: str | dict[str, Any]) -> str:
        """What kubectl says; raises Failed with what the API server refused."""
        return self.cluster.kubectl("apply", "-f", "-", given=what if isinstance(what, str) else json.dumps(what))

    def route(self, rules: list[dict[str, Any]], name: str = "reviews", namespace: str = "town") -> None:
        """An HTTPRoute of reviews."""
        parent = {"group": "", "kind": "Service", "name": "reviews", "namespace": "town"}
        metadata = {"name": name, "namespace": namespace}
        kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata}
        self.apply({**kind, "spec": {"parentRefs": [parent], "rules": rules}})

    def no_route(self, name: str = "reviews", namespace: str = "town") -> None:
        """Takes it away."""
        self.cluster.kubectl("-n", namespace, "delete", "httproute", name, "--ignore-not-found")

    def program(self, name: str, *words: str) -> list[str]:
        """The command line that runs app.py in a pod of a Deployment."""
        where = ("-n", DEPLOYMENTS[name][0], "exec", "-i", f"deployment/{name}", "-c", "app")
        return self.cluster.command(*where, "--", "python3", "/app/app.py", *words)

    def call(self, name: str, path: str = "/", count: int = 1) -> Counter[str]:
        """Calls of reviews on one connection, by answer."""
        words = self.program(name, "call", f"http://reviews.town{path}", str(count))
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return Counter(json.loads(done.stdout))

    def load(self, name: str) -> Going:
        """Calls of reviews that go on."""
        return Going(self.program(name, "load", "http://reviews.town/"))

    def outage(self, name: str, seconds: int) -> None:
        """Stops the API server of the node for so long, while a pod goes on calling; returns when it answers again."""
        subprocess.run(
            self.program(name, "alone", "http://reviews.town/", str(seconds), COUNTS), check=True, capture_output=True
        )
        server = ("docker", "exec", f"{self.cluster.name}-control-plane", "pkill")
        run(*server, "-STOP", "kube-apiserver")
        try:
            time.sleep(seconds)
        finally:
            # Kubelet may have ended it and not started another yet: then there is nothing to wake.
            subprocess.run([*server, "-CONT", "kube-apiserver"], check=False, capture_output=True)
        until(self._answers, "the API server answers again")

    def counted(self, name: str) -> Counter[str]:
        """What came of the calls that went on alone."""
        where = ("-n", DEPLOYMENTS[name][0], "exec", f"deployment/{name}", "-c", "app", "--", "cat", COUNTS)
        found: list[str] = []

        def there() -> bool:
            try:
                found.append(self.cluster.kubectl(*where, seconds=30))
            except Failed:
                return False
            return True

        until(there, "the calls were counted")
        return Counter(json.loads(found[0]))

    def _answers(self) -> bool:
        try:
            self.cluster.kubectl("get", "--raw", "/readyz", seconds=10)
        except Failed:
            return False
        return True

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Those that are not ending."""
        found = json.loads(self.cluster.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def _clear(self) -> None:
        self.cluster.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=180s")


def deployment(name: str) -> dict[str, Any]:
    """As its owner writes it: without a word of the mesh."""
    namespace, replicas = DEPLOYMENTS[name]
    app, _, version = name.partition("-")
    labels = {"app": app, "version": version or "v1"}
    made = yaml.safe_load(_POD)
    made["containers"][0]["command"] = ["python3", "/app/app.py", "serve", name]
    if name == "tap":
        made["hostNetwork"] = True
        made["containers"][0]["command"] = ["sleep", "infinity"]  # which no SIGTERM ends
        made["terminationGracePeriodSeconds"] = 1
        del made["containers"][0]["readinessProbe"]
    template = {"metadata": {"labels": labels}, "spec": made}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


_POD = f"""
terminationGracePeriodSeconds: 40
containers:
  - name: app
    image: {IMAGE}
    imagePullPolicy: IfNotPresent
    ports: [{{name: http, containerPort: 8080}}]
    readinessProbe: {{httpGet: {{port: http, path: /}}, periodSeconds: 1}}
    volumeMounts: [{{name: app, mountPath: /app}}]
volumes:
  - {{name: app, configMap: {{name: app}}}}
"""
