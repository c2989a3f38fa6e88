"""`nox -s kind`: wheels, images, cluster, scenarios, and nothing left behind. Everything after `--` goes to pytest.

Where a scenario fails, what the cluster says of itself is collected first. Exit codes: those of pytest; 3 where the
machine or the cluster failed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import images
from cluster import Cluster
from steps import FOLDER, LOGS, step
from tools import Failed, Missing, require

HERE = Path(__file__).parent


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Runs the scenarios of Plait on a kind cluster.")
    parser.add_argument("--keep", action="store_true", help="leave the cluster, and use it again when it is there")
    parser.add_argument("--name", default="plait", help="of the cluster (default plait)")
    given, rest = parser.parse_known_args()
    cluster = Cluster(given.name, FOLDER)
    try:
        require("docker", "kind", "kubectl")
        made = step("images", images.build)
        if not (given.keep and cluster.exists):
            step("cluster", cluster.create)
        step("load", lambda: cluster.load([*made, images.PYTHON]))
        code = scenarios(cluster, [word for word in rest if word != "--"])
    except (Missing, Failed) as error:
        print(f"✗ {error}", file=sys.stderr)
        code = 3
    if code and cluster.kubeconfig.exists():
        step("logs", lambda: cluster.collect(LOGS))
        print(f"what the cluster said stands in {LOGS}", file=sys.stderr)
    if given.keep:
        print(
            f"the cluster stays: kubectl --kubeconfig {cluster.kubeconfig} …; kind delete cluster --name {given.name}"
        )
    elif cluster.kubeconfig.exists():
        step("delete", cluster.delete)
    return code


def scenarios(cluster: Cluster, words: list[str]) -> int:
    """pytest over the folders beside this file."""
    environment = {"PLAIT_KIND_CLUSTER": cluster.name, "PLAIT_KIND_FOLDER": str(FOLDER)}
    command = [sys.executable, "-m", "pytest", *(words or [str(HERE)])]
    return subprocess.run(command, cwd=images.ROOT, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
