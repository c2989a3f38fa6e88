"""`plait explain`: which objects, rules and endpoints decide one request, of the running mesh or of the YAML alone.

The engine is the proxy's own (`decide`): on this machine the sidecar answers on its admin socket; what it does not
hold, the destination's policy, comes from `plait-proxy decide` over the same contract messages, and so does all of it
on a cluster. Must not decide anything itself.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from plait_cli.asked import Asked, ClusterOption, ContextOption, KubeconfigOption, OnMachine, reached
from plait_cli.binaries import locate
from plait_cli.client import Admin, Api, name_of
from plait_cli.errors import USAGE, Failure
from plait_cli.explained import Places, render
from plait_cli.meshes import MeshOption, StateOption
from plait_cli.output import Format, OutputOption, print_json
from plait_cli.verbs.join_token import resolve


class Request(NamedTuple):
    """A request that nobody sends; headers as "name: value"."""

    method: str
    url: str
    headers: list[str]
    sni: str | None
    """The server that a client of TLS asks for; None = the host of the URL."""


def explain(
    method: Annotated[str, typer.Argument(help="GET, POST, …")],
    url: Annotated[str, typer.Argument(help="As the application would write it: http://reviews/reviews/7")],
    source: Annotated[str, typer.Option("--from", "-f", help="The Workload that asks, or its service account.")],
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'name: value'; may be repeated.")] = None,
    sni: Annotated[
        str | None, typer.Option("--sni", metavar="NAME", help="The server that TLS asks for; else the URL's host.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Ask the YAML of this folder, without a mesh.")
    ] = None,
    mesh: MeshOption = None,
    state: StateOption = None,
    cluster: ClusterOption = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Tells what would happen to a request and why, without sending it."""
    headers = header or []
    for entry in headers:
        if ":" not in entry:
            raise Failure(f"header {entry!r} has no colon", "write -H 'x-tester: yes'", USAGE)
    request = Request(method.upper(), url, headers, sni)
    if directory is not None:
        decision, places = offline(directory, source, request)
    else:
        with reached(mesh, state, cluster, kubeconfig, context) as target:
            workload = resolve(target.api, source)
            decision, places = running(target, workload, request), places_of(target.api)
    if output is Format.json:
        print_json(decision)
        return
    render(decision, places, url)
    if directory is None and (cluster or kubeconfig or context):
        print(
            "\nBy what the control plane tells the proxy; what the proxy itself saw of endpoints does not count here."
        )


def running(target: Asked, workload: str, request: Request) -> dict[str, Any]:
    """The decision in a mesh that runs: of the sidecar, on a cluster of the engine over what that sidecar is told."""
    if isinstance(target, OnMachine):
        admin = Admin(target.mesh, workload)
        decision = admin.explain(workload, request.method, request.url, request.headers, request.sni)
    else:
        decision = decide(target.api.resources(workload), workload, request)
    return whole(target.api, decision, workload, request)


def whole(api: Api, decision: dict[str, Any], workload: str, request: Request) -> dict[str, Any]:
    """The decision with the policy of the destination, from what that one's sidecar would hold."""
    known = {name_of(entry) for entry in api.workloads()}
    endpoint = next((entry["workload"] for entry in decision["endpoints"] if entry["workload"] in known), None)
    if decision["policy"] is None and endpoint is not None:
        both = api.resources(workload) + api.resources(endpoint)  # messages of protobuf merge when they are joined
        judged = decide(both, workload, request)
        decision["policy"], decision["answer"] = judged["policy"], judged["answer"]
    return decision


def offline(directory: Path, source: str, request: Request) -> tuple[dict[str, Any], Places]:
    """The decision by the YAML of a folder; refused while lint finds problems, since they would change it."""
    from plait_controlplane.lint import lint_directory, offline  # late: imports that other verbs do without
    from plait_controlplane.resources.workload import Workload
    from plait_controlplane.sources.directory import load

    if not directory.is_dir():
        raise Failure(f"{directory} is not a folder", "give the folder that holds your YAML", USAGE)
    errors = len(lint_directory(directory).errors)
    if errors:
        raise Failure(f"{directory} has problems: {errors}", f"plait lint {directory}")
    world, _ = load(directory)
    found = [
        f"{workload.metadata.namespace}/{workload.metadata.name}"
        for _, workload in world.kind(Workload)
        if source in {workload.metadata.name, workload.spec.service_account}
        or source == f"{workload.metadata.namespace}/{workload.metadata.name}"
    ]
    if not found:
        raise Failure(f"no Workload or service account is named {source}", "--from takes one of the folder's Workloads")
    decision = decide(offline(world).change_set(1).SerializeToString(), found[0], request)
    places = {
        key: (stored.file, stored.document.place(("metadata", "name")).value[0])
        for key, stored in world.objects.items()
    }
    return decision, places


def places_of(api: Api) -> Places:
    """Where each object stands, by kind, namespace and name."""
    return {
        (entry["kind"], entry["namespace"] or "", entry["name"]): (entry["file"], entry["line"])
        for entry in api.objects()
    }


def decide(resources: bytes, workload: str, request: Request) -> dict[str, Any]:
    """Asks the engine about a serialised ChangeSet."""
    with tempfile.NamedTemporaryFile(prefix="plait-", suffix=".resources") as file:
        file.write(resources)
        file.flush()
        command = [locate("plait-proxy"), "decide", "--resources", file.name, "--from", workload]
        command += [request.method, request.url, *(["--sni", request.sni] if request.sni else [])]
        for header in request.headers:
            command += ["-H", header]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).removeprefix("✗ ")
        raise Failure(f"the engine refused the question: {said}", code=USAGE)
    return dict(json.loads(done.stdout))
