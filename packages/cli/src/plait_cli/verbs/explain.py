"""`plait explain`: which objects, rules and endpoints decide one request, of the running mesh or of the YAML alone.

The engine is the proxy's own (`decide`): live the sidecar answers on its admin socket; what it does not hold, the
destination's policy, comes from `plait-proxy decide` over the same contract messages. Must not
decide anything itself.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from plait_cli.binaries import locate
from plait_cli.client import Admin, Api, name_of
from plait_cli.errors import USAGE, Failure
from plait_cli.explained import Places, render
from plait_cli.meshes import MeshOption, StateOption, find
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
        target = find(mesh, state)
        api = Api(target)
        workload = resolve(api, source)
        decision, places = live(api, Admin(target, workload), workload, request), places_of(api)
    if output is Format.json:
        print_json(decision)
    else:
        render(decision, places, url)


def live(api: Api, admin: Admin, workload: str, request: Request) -> dict[str, Any]:
    """The decision of the sidecar, with the policy of the destination added from what that one's sidecar would hold."""
    decision = admin.explain(workload, request.method, request.url, request.headers, request.sni)
    known = {name_of(entry) for entry in api.workloads()}
    endpoint = next((entry["workload"] for entry in decision["endpoints"] if entry["workload"] in known), None)
    if decision["policy"] is None and endpoint is not None:
        both = api.resources(workload) + api.resources(endpoint)  # messages of protobuf merge when they are joined
        whole = decide(both, workload, request)
        decision["policy"], decision["answer"] = whole["policy"], whole["answer"]
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
