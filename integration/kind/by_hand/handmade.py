"""Owns the mesh of this folder: its control plane, its pods, and the questions put to it. Called by the fixture."""

import json
import string
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import yaml
from cluster import Cluster
from tools import Failed

HERE = Path(__file__).parent
PODS = ("web-1", "guest-1", "reviews-v1-1", "reviews-v2-1")
PATIENCE_SECONDS = 180.0
PAUSE_SECONDS = 0.5
SYSTEM, SHOP = ("-n", "plait-system"), ("-n", "shop")


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


class Mesh:
    """The mesh on the cluster. Use: `start`, later `remove`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self) -> None:
        """Control plane, then a join token and a pod for each Workload; returns when all are ready."""
        self._clear()  # a run that was killed left its own on a cluster that is kept
        for namespace in ("plait-system", "shop"):
            self.cluster.kubectl("create", "namespace", namespace)
        # A pod in the mesh asks for nothing that the strictest standard refuses.
        self.cluster.kubectl("label", "namespace", "shop", "pod-security.kubernetes.io/enforce=restricted")
        self.write()
        self.configmap("app", "shop", {"app.py": (HERE / "app.py").read_text()})
        self.cluster.kubectl("apply", "-f", str(HERE / "controlplane.yaml"))
        self.cluster.kubectl(*SYSTEM, "rollout", "status", "deployment/plait-controlplane", "--timeout=180s")
        for name in PODS:
            self.join(name)
        self.cluster.kubectl(*SHOP, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=180s")

    def remove(self) -> None:
        """Takes all of it away, and tells what the parts said (pytest shows it when a test failed)."""
        for words in (
            (*SYSTEM, "logs", "deployment/plait-controlplane"),
            *((*SHOP, "logs", name, "-c", "plait-proxy", "--tail=15") for name in PODS),
        ):
            try:
                print(f"--- {' '.join(words)}\n{self.cluster.kubectl(*words, seconds=30)}")
            except Failed as error:
                print(error)
        self._clear()

    def write(self, **files: str) -> None:
        """The user's YAML as it stands in mesh/, but for the files that are given (without their suffix)."""
        texts = {path.name: files.get(path.stem, path.read_text()) for path in (HERE / "mesh").glob("*.yaml")}
        self.configmap("mesh", "plait-system", texts)

    def configmap(self, name: str, namespace: str, data: dict[str, str]) -> None:
        """Makes it, or changes it."""
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        }
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps(made))

    def join(self, name: str, *words: str) -> None:
        """A join token for the Workload, and its pod. With `words` app.py does that, and the pod ends with it."""
        command = ["plait-controlplane", "join-token", "--sockets=/run/plait", f"--workload=shop/{name}"]
        token = self.cluster.kubectl(
            *SYSTEM, "exec", "deployment/plait-controlplane", "-c", "controlplane", "--", *command
        )
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-token", "namespace": "shop"}}
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps({**secret, "stringData": {"token": token}}))
        pod = string.Template((HERE / "pod.yaml").read_text()).substitute(name=name)
        made = yaml.safe_load(pod)
        if words:
            made["spec"]["restartPolicy"] = "Never"
            made["spec"]["containers"][0]["command"][2:] = words
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps(made))

    def addresses(self) -> dict[str, str]:
        """The IP of each pod."""
        found = self.cluster.kubectl(*SHOP, "get", "pods", "-o", "json")
        return {one["metadata"]["name"]: one["status"].get("podIP", "") for one in json.loads(found)["items"]}

    def program(self, pod: str, *words: str) -> list[str]:
        """The command line that runs app.py in a pod."""
        return self.cluster.command(*SHOP, "exec", "-i", pod, "-c", "app", "--", "python3", "/app/app.py", *words)

    def call(self, pod: str, count: int = 1, method: str = "GET") -> Counter[str]:
        """Calls of reviews, by answer."""
        done = subprocess.run(
            self.program(pod, "call", method, "reviews", "/", str(count)), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return Counter(json.loads(done.stdout))

    def dial(self, pod: str, address: str, port: int) -> str:
        """What plain HTTP gets there."""
        done = subprocess.run(self.program(pod, "dial", address, str(port)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout))

    def load(self, pod: str) -> Load:
        """Calls of reviews that go on."""
        return Load(self.program(pod, "load", "reviews", "/"))

    def log(self, pod: str) -> list[dict[str, object]]:
        """The access log of the pod's proxy."""
        lines = self.cluster.kubectl(*SHOP, "logs", pod, "-c", "plait-proxy").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _clear(self) -> None:
        gone = ("--ignore-not-found", "--timeout=180s")
        self.cluster.kubectl("delete", "namespace", "shop", "plait-system", *gone)
        self.cluster.kubectl("delete", "persistentvolume", "plait-state", *gone)
