"""One kind cluster from its creation to its end. Called by `run` and by the fixtures; knows nothing of the mesh.

It has a kubeconfig of its own: nobody's own contexts are touched.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steps import step
from tools import Failed, run

CONFIG = Path(__file__).parents[2] / "kind-config.yaml"
# What kind v0.33.0 was released with; where no registry can be reached PLAIT_KIND_IMAGE names one that was made here.
NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
READY_SECONDS = 300


class Cluster:
    """Use: `create`, `load`, `kubectl`, and at the end `delete`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.kubeconfig = folder / f"{name}.kubeconfig"

    @property
    def exists(self) -> bool:
        """Whether it runs and this folder has its kubeconfig."""
        return self.kubeconfig.exists() and self.name in run("kind", "get", "clusters").split()

    @contextmanager
    def there(self, keep: bool) -> Iterator[None]:
        """The cluster for as long as this lasts; with `keep` one that is there is used, and it stays."""
        if not (keep and self.exists):
            step("cluster", self.create)
        try:
            yield
        finally:
            if keep:
                print(
                    f"the cluster stays: kubectl --kubeconfig {self.kubeconfig}; kind delete cluster --name {self.name}"
                )
            else:
                step("delete", self.delete)

    def create(self) -> None:
        """Creates it and waits until its nodes are ready; one of the same name is replaced."""
        image = os.environ.get("PLAIT_KIND_IMAGE") or NODE_IMAGE
        self.delete()
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        options = ["--name", self.name, "--config", str(CONFIG), "--image", image, "--kubeconfig", str(self.kubeconfig)]
        try:
            run("kind", "create", "cluster", *options, "--wait", f"{READY_SECONDS}s", seconds=READY_SECONDS * 2)
            self.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={READY_SECONDS}s")
        except BaseException:  # Ctrl-C too: half a cluster is none
            self.delete()
            raise

    def load(self, images: Sequence[str]) -> None:
        """Gives images of this machine to the nodes."""
        run("kind", "load", "docker-image", *images, "--name", self.name)

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 600) -> str:
        """What kubectl printed; raises Failed."""
        return run(*self.command(*words), given=given, seconds=seconds)

    def command(self, *words: str) -> list[str]:
        """A command line of kubectl for this cluster, for who starts it otherwise."""
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), *words]

    def collect(self, folder: Path) -> None:
        """Writes down what the cluster says of itself: objects, events, logs of nodes and pods."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, words in {
            "pods.txt": ("get", "pods", "-A", "-o", "wide"),
            "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            "describe.txt": ("describe", "pods", "-A"),
        }.items():
            try:
                (folder / name).write_text(self.kubectl(*words, seconds=60))
            except Failed as error:
                (folder / name).write_text(str(error))
        try:
            run("kind", "export", "logs", folder / "logs", "--name", self.name)
        except Failed as error:
            (folder / "logs.txt").write_text(str(error))

    def delete(self) -> None:
        """Ends it; nothing is left but its logs."""
        run("kind", "delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        self.kubeconfig.unlink(missing_ok=True)
