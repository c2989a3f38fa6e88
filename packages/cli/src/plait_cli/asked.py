"""Owns which mesh a verb asks, one on this machine or one on a cluster, and what verbs ask of either (`Asked`).

Called by the verbs that look on; those that start and end meshes know which they mean. Must not print.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from plait_cli.client import Admin, Api, Unreachable
from plait_cli.errors import USAGE, Failure
from plait_cli.install.cluster import ContextOption, KubeconfigOption
from plait_cli.meshes import Mesh, find

__all__ = ["Asked", "ClusterOption", "ContextOption", "KubeconfigOption", "OnCluster", "OnMachine", "reached"]

ClusterOption = Annotated[
    bool,
    typer.Option(
        "--cluster", envvar="PLAIT_CLUSTER", help="Ask the mesh of a cluster, as kubectl would reach it, as yourself."
    ),
]


class OnMachine:
    """A mesh on this machine: sidecars have sockets that are the user's own."""

    pause_seconds = 0.05
    """Between questions of one who waits."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.name = mesh.name
        self.api = Api(mesh)

    def metrics(self, workloads: Sequence[str]) -> dict[str, str]:
        """What the proxy of each counts, as Prometheus text; without those that do not answer."""

        def one(name: str) -> str | None:
            try:
                return Admin(self.mesh, name).metrics()
            except Unreachable:
                return None

        with ThreadPoolExecutor(8) as pool:
            answers = dict(zip(workloads, pool.map(one, workloads), strict=True))
        return {name: text for name, text in answers.items() if text is not None}

    def configs(self, workloads: Sequence[str]) -> list[dict[str, Any]]:
        """What each sidecar says of itself, null when it is away; those with a socket where no workload is known."""
        names = workloads or found_by_sockets(self.mesh)
        return [{"workload": name, "config": self._config(name)} for name in names]

    def tap(self, workload: str) -> Iterator[bytes]:
        """A line of the access log for each request that ends from now on; raises Unreachable at once."""
        return Admin(self.mesh, workload).tap()

    def _config(self, name: str) -> dict[str, Any] | None:
        try:
            return Admin(self.mesh, name).config()
        except Failure:
            return None


class OnCluster:
    """A mesh on a cluster: sidecars are asked by the control plane, and for no more than what they count."""

    pause_seconds = 1.0
    """Between questions of one who waits: the API server has others to serve."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        from plait_cli.on_cluster import ClusterApi, PodLogs  # late: what a mesh on this machine can do without

        self._logs = PodLogs(kubeconfig, context)
        self.api = ClusterApi(kubeconfig, context)
        self.name = context or "of the cluster"

    def metrics(self, workloads: Sequence[str]) -> dict[str, str]:
        """What the proxy of each counts, as Prometheus text; without those that do not answer."""
        return self.api.metrics(workloads)

    def configs(self, workloads: Sequence[str]) -> list[dict[str, Any]]:
        """Nothing: their admin sockets are in their pods."""
        return []

    def tap(self, workload: str) -> Iterator[bytes]:
        """What its proxy writes to the log of its pod from now on; raises Failure when it is read."""
        return self._logs.lines(workload)


Asked = OnMachine | OnCluster
"""What verbs that look on can be asked about."""


@contextmanager
def reached(
    mesh: str | None, state: Path | None, cluster: bool, kubeconfig: Path | None, context: str | None
) -> Iterator[Asked]:
    """The mesh that is asked; raises Failure that says how to choose."""
    if not (cluster or kubeconfig or context):
        yield OnMachine(find(mesh, state))
        return
    if state is not None or mesh not in (None, os.environ.get("PLAIT_MESH")):
        raise Failure("--mesh and --state name a mesh on this machine", "leave them out, or --cluster", USAGE)
    target = OnCluster(kubeconfig, context)
    try:
        yield target
    finally:
        target.api.close()


def found_by_sockets(mesh: Mesh) -> list[str]:
    """Workloads whose sidecars have a socket; a namespace holds no dot, so the first one ends it."""
    stems = (path.stem.removeprefix("proxy-") for path in mesh.sockets.glob("proxy-*.sock"))
    return sorted(stem.replace(".", "/", 1) for stem in stems)
