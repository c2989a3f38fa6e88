"""`plait join-token create`: a token with which the proxy of one Workload proves itself the first time."""

from typing import Annotated

import typer

from plait_cli.client import Api, name_of
from plait_cli.errors import Failure
from plait_cli.meshes import MeshOption, StateOption, find
from plait_cli.output import Format, OutputOption, print_json

EXAMPLE = "Example: plait join-token create --workload bookshop/web-1 > token"

app = typer.Typer(no_args_is_help=True, help="Tokens with which a proxy joins the mesh.", epilog=EXAMPLE)


@app.command("create", epilog=EXAMPLE)
def create(
    workload: Annotated[str, typer.Option("--workload", "-w", help="Name of the Workload, or namespace/name.")],
    ttl: Annotated[int, typer.Option("--ttl", min=1, max=86400, help="Seconds for which it may be used.")] = 3600,
    mesh: MeshOption = None,
    state: StateOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Prints a join token of one Workload; whoever holds it can be that Workload until it expires."""
    api = Api(find(mesh, state))
    token = api.join_token(resolve(api, workload), ttl)
    if output is Format.json:
        print_json(token)
        return
    print(token["token"])


def resolve(api: Api, wanted: str) -> str:
    """ "namespace/name" of the Workload meant by its name, a prefix of it, or its service account."""
    known = api.workloads()
    for match in (
        [entry for entry in known if wanted in (name_of(entry), entry["name"])],
        [
            entry
            for entry in known
            if wanted in (entry["service_account"], f"{entry['namespace']}/{entry['service_account']}")
        ],
        [entry for entry in known if entry["name"].startswith(wanted)],
    ):
        if match:
            return min(map(name_of, match))
    names = ", ".join(sorted(map(name_of, known))) or "none"
    raise Failure(f"no Workload is called {wanted}", f"there are: {names}")
