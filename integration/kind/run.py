"""`nox -s kind`: wheels, images, cluster, scenarios, and nothing left behind. Further options go to pytest.

Where a scenario fails, what the cluster says of itself is collected first. Exit codes: those of pytest; 3 where the
machine or the cluster failed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import images
import standard
from cluster import Cluster
from steps import FOLDER, LOGS, ROOT, step
from tools import Failed, Missing, require

HERE = Path(__file__).parent


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Runs the scenarios of Plait on a kind cluster.")
    parser.add_argument("--keep", action="store_true", help="leave the cluster, and use it again when it is there")
    parser.add_argument("--name", default="plait", help="of the cluster (default plait)")
    given, rest = parser.parse_known_args()
    cluster = Cluster(given.name, FOLDER)
    code = 3
    try:
        require("docker", "kind", "kubectl", "go")
        made = step("images", images.build)
        with cluster.there(given.keep):
            try:
                step("load", lambda: cluster.load(made))
                step("gateway api", lambda: standard.crds(cluster))
                code = scenarios(cluster, [word for word in rest if word != "--"])
            finally:
                if code:
                    step("logs", lambda: cluster.collect(LOGS))
                    print(f"what the cluster said stands in {LOGS}", file=sys.stderr)
    except (Missing, Failed) as error:
        print(f"✗ {error}", file=sys.stderr)
    return code


def scenarios(cluster: Cluster, words: list[str]) -> int:
    """pytest over the folders beside this file."""
    environment = {"PLAIT_KIND_CLUSTER": cluster.name, "PLAIT_KIND_FOLDER": str(FOLDER)}
    command = [sys.executable, "-m", "pytest", str(HERE), *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
