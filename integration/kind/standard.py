"""The Gateway API's own CRDs, of the version that the conformance session pins. Called by that session and by `run`.

A cluster gets them from whoever runs it, never from `plait install`: here from the Go module.
"""

from pathlib import Path

from cluster import Cluster
from steps import ROOT
from tools import run

PINNED = ROOT / "integration" / "conformance"


def module(name: str) -> Path:
    """Where Go keeps a module that go.mod names."""
    run("go", "mod", "download", name, cwd=PINNED)
    return Path(run("go", "list", "-m", "-f", "{{.Dir}}", name, cwd=PINNED).strip())


def crds(cluster: Cluster) -> None:
    """Gives the cluster the standard channel; returns when the API server serves all of it."""
    folder = module("sigs.k8s.io/gateway-api") / "config" / "crd" / "standard"
    cluster.kubectl("apply", "--server-side", "-f", str(folder))
    established = ("--for=condition=Established", "crd", "--all", "--timeout=120s")
    cluster.kubectl("wait", *established)
