"""`nox -s conformance`: the Gateway API's own suite against a kind cluster, for its mesh profiles.

Exit codes: 0 when all mesh tests ran and passed, 1 when not, 3 where the machine or the cluster failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import images
import standard
from cluster import Cluster
from results import counted
from steps import FOLDER, step
from tools import Failed, Missing, require, run

HERE = Path(__file__).parent
REPORT = HERE / "reports" / "mesh.yaml"
TESTS = 22
"""Mesh tests of this version of the suite."""

# From empty caches, on a machine that does other things too.
BUILD_SECONDS = 1800
PROFILES = ("MESH-HTTP", "MESH-GRPC")
# The last ones count in no statistic of a profile, and without them seven of the tests would not run.
FEATURES = (
    "Mesh", "HTTPRoute", "GRPCRoute", "MeshClusterIPMatching", "MeshConsumerRoute",
    "MeshHTTPRouteRewritePath", "MeshHTTPRouteSchemeRedirect", "MeshHTTPRouteRedirectPort", "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteBackendRequestHeaderModification", "MeshHTTPRouteQueryParamMatching", "MeshHTTPRouteNamedRouteRule",
    "HTTPRouteResponseHeaderModification", "HTTPRouteParentRefPort", "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode", "HTTPRoute308RedirectStatusCode",
)  # fmt: skip
ABOUT = {
    "organization": "Plait",
    "project": "plait",
    "url": "https://github.com/plait-mesh/plait",
    "version": "0.1.0",
    "contact": "https://github.com/plait-mesh/plait/issues",
}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Runs the Gateway API conformance suite for the mesh profiles.")
    parser.add_argument("--keep", action="store_true", help="leave the cluster, and use it again when it is there")
    parser.add_argument("--name", default="plait", help="of the cluster (default plait)")
    parser.add_argument("--patience", type=int, default=30, help="seconds until a call must succeed (default 30)")
    parser.add_argument("--only", default="", metavar="TEST", help="one test of the suite by its short name")
    given = parser.parse_args()
    cluster = Cluster(given.name, FOLDER)
    try:
        require("docker", "kind", "kubectl", "go")
        step("echo tests", lambda: run("go", "test", "./echo", cwd=HERE, seconds=BUILD_SECONDS))
        image = step("echo image", echo_image)
        suite = step("suite", compiled)
        made = step("images", images.build)
        with cluster.there(given.keep):
            step("load", lambda: cluster.load([image, *made]))
            step("gateway api", lambda: standard.crds(cluster))
            step("install", lambda: installed(cluster))
            return judged(suite, cluster, given.patience, given.only)
    except (Missing, Failed) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 3


def installed(cluster: Cluster) -> None:
    """The mesh of this checkout; one that is there already serves the new images when its pods are started again."""
    plait = Path(sys.executable).with_name("plait")
    run(plait, "install", "--image-tag", "dev", "--kubeconfig", cluster.kubeconfig, seconds=600)
    cluster.kubectl("-n", "plait-system", "rollout", "restart", "deployment/plait-controlplane")
    cluster.kubectl("-n", "plait-system", "rollout", "status", "deployment/plait-controlplane", "--timeout=180s")


def echo_image() -> str:
    """Builds the application under the name by which the suite's manifests call it."""
    manifests = (standard.module("sigs.k8s.io/gateway-api/conformance") / "mesh" / "manifests.yaml").read_text()
    (name,) = set(re.findall(r"image: (\S+)", manifests))
    context = FOLDER / "echo"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    build = ("go", "build", "-trimpath", "-ldflags=-s -w", "-o", context / "echo", "./echo")
    run("env", "CGO_ENABLED=0", *build, cwd=HERE, seconds=BUILD_SECONDS)
    run("docker", "build", "-q", "-t", name, "-f", HERE / "echo" / "Dockerfile", context)
    return name


def compiled() -> Path:
    """The suite as a program, its manifests inside."""
    program = FOLDER / "conformance.test"
    run("go", "test", "-c", "-o", program, "./suite", cwd=HERE, seconds=BUILD_SECONDS)
    return program


def judged(suite: Path, cluster: Cluster, patience: int, only: str) -> int:
    """Runs the suite and counts what passed; its whole output goes to a file."""
    REPORT.parent.mkdir(exist_ok=True)
    options = {
        "conformance-profiles": ",".join(PROFILES),
        "supported-features": ",".join(FEATURES),
        "namespace-labels": "plait.dev/inject=enabled",
        "timeout-config-overrides": f"MaxTimeToConsistency:{patience}",
        # A report of one test would say that the others failed.
        **({"run-test": only} if only else {"report-output": str(REPORT), **ABOUT}),
    }
    command = [str(suite), "-test.v", "-test.timeout=60m", *(f"--{name}={value}" for name, value in options.items())]
    log = FOLDER / "conformance.log"
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        results = counted(kept(process.stdout, file))
    ended = process.wait()
    if not results:
        raise Failed(f"the suite ended with {ended} before its first test; what it said stands in {log}")
    passed = sum(result == "PASS" for result in results.values())
    wanted = 1 if only else TESTS
    told = "" if only else f", the report in {REPORT}"
    print(f"{passed} of {wanted} mesh tests passed; what the suite said stands in {log}{told}")
    return 0 if passed == wanted == len(results) and ended == 0 else 1


def kept(lines: Iterable[str], file: TextIO) -> Iterable[str]:
    """Passes lines on, and writes each."""
    for line in lines:
        file.write(line)
        yield line


if __name__ == "__main__":
    sys.exit(main())
