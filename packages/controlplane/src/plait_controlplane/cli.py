"""`plait-controlplane`: the command line.

`serve` and `join-token` are for people; `signer`, `discovery`, `hooks` and `webhooks` are what `serve` starts.
"""

import argparse
import asyncio
import ipaddress
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from plait_controlplane.settings import CLUSTER, Settings
from plait_controlplane.sources.ports import Ports, numbers_in
from plait_controlplane.supervisor import supervise

LOG = logging.getLogger(__name__)

EXAMPLE = "example: plait-controlplane serve --source shop/ --state /var/lib/plait --sockets /run/plait"
TOKEN_EXAMPLE = "example: plait-controlplane join-token --sockets /run/plait --workload shop/web-1 > token"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 ended as told, 1 could not start, 2 wrong usage."""
    given = parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for library in ("uvicorn", "watchfiles"):  # they tell of each start and each event of the file system
        logging.getLogger(library).setLevel(logging.WARNING)
    os.umask(0o077)  # what we write holds keys, or says what the mesh is made of
    try:
        asyncio.run({"serve": _serve, "join-token": _join_token}.get(given.command, _child)(given))
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        # The last line is for people; where it came from is for whoever asks for it.
        LOG.debug("ended by an error", exc_info=True)
        print(f"plait-controlplane {given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser("plait-controlplane", description="The control plane of Plait.", epilog=EXAMPLE)
    commands = found.add_subparsers(dest="command", required=True, metavar="serve | join-token")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--sockets", type=Path, required=True, help="the folder for api.sock and signer.sock")
    common.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    token = commands.add_parser("join-token", parents=[common], help="print a join token", epilog=TOKEN_EXAMPLE)
    token.add_argument("--workload", required=True, metavar="NAMESPACE/NAME", help="whose proxy is to join")
    token.add_argument("--ttl", type=int, default=3600, metavar="SECONDS", help="for how long it may be used")
    shared = argparse.ArgumentParser(add_help=False, parents=[common])
    what = f'the folder of YAML to follow, or "{CLUSTER}": the objects of a cluster (./{CLUSTER} is a folder)'
    shared.add_argument("--source", required=True, metavar="FOLDER", help=what)
    reach = f"how to reach the cluster of --source {CLUSTER}; default: as the pod that we are, else as kubectl would"
    shared.add_argument("--kubeconfig", type=Path, metavar="FILE", help=reach)
    shared.add_argument("--state", type=Path, required=True, help="the folder for keys, ports and generations")
    shared.add_argument("--api-listen", metavar="IP:PORT", help="serve the API over TCP too; needs --api-token-file")
    shared.add_argument("--api-token-file", type=Path, metavar="FILE", help="what callers over TCP must show")
    shared.add_argument(
        "--api-cluster", default="", metavar="IP:PORT", help="on a cluster: serve the API to whom its RBAC lets ask"
    )
    shared.add_argument("--advertise", default="", metavar="HOST", help="where proxies reach --host; default: there")
    where = "the root is the Secret plait-ca of this namespace; pods prove themselves by their service account"
    shared.add_argument("--ca-namespace", default="", metavar="NAMESPACE", help=where)
    shared.add_argument(
        "--webhooks", default="", metavar="IP:PORT", help="on a cluster: serve injection and validation there"
    )
    shared.add_argument("--proxy-image", default="", metavar="IMAGE", help="what --webhooks injects")
    shared.add_argument("--hooks", type=Path, metavar="FILE", help="YAML that names the control plane's own plugins")
    serve = commands.add_parser("serve", parents=[shared], help="run the control plane", epilog=EXAMPLE)
    serve.add_argument("--host", default="127.0.0.1", help="address for discovery and identity (default 127.0.0.1)")
    for name in ("signer", "discovery", "hooks", "webhooks"):
        child = commands.add_parser(name, parents=[shared])
        child.add_argument("--discovery", required=True, metavar="IP:PORT")
        child.add_argument("--identity", required=True, metavar="IP:PORT")
    return found


async def _serve(given: argparse.Namespace) -> None:
    folder = None if given.source == CLUSTER else Path(given.source)
    if folder is not None and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; --source takes the folder that holds your YAML, or {CLUSTER}")
    if folder is not None and given.kubeconfig is not None:
        raise ValueError(f"--kubeconfig needs --source {CLUSTER}")
    if given.api_listen is not None and given.api_token_file is None:
        raise ValueError("--api-listen needs --api-token-file: whoever reaches the port could make join tokens")
    if given.api_cluster and folder is not None:
        raise ValueError(f"--api-cluster needs --source {CLUSTER}: it is the cluster that says who may ask")
    if bool(given.webhooks) != bool(given.proxy_image):
        raise ValueError("--webhooks and --proxy-image belong together: what is injected, and where that is asked for")
    if ipaddress.ip_address(given.host).is_unspecified and not given.advertise:
        raise ValueError(
            f"--host {given.host} needs --advertise: the name or address at which proxies reach this machine"
        )
    if given.hooks is not None:
        from plait_controlplane.hooks.enabled import read_enabled  # late: most meshes have no such file

        read_enabled(given.hooks)
    for folder in (given.state, given.sockets):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = Ports(given.state / "ports.json")
    options = ["--source", given.source, "--state", str(given.state), "--sockets", str(given.sockets)]
    options += ["--kubeconfig", str(given.kubeconfig)] if given.kubeconfig else []
    written = frozenset[int]() if folder is None else numbers_in(folder)
    for name in ("discovery", "identity"):
        options += [f"--{name}", ports.own(name, given.host, written)]
    options += ["--log-level", given.log_level]
    options += ["--advertise", given.advertise] if given.advertise else []
    options += ["--hooks", str(given.hooks.absolute())] if given.hooks else []
    api = [] if given.api_listen is None else ["--api-listen", given.api_listen]
    api += [] if given.api_token_file is None else ["--api-token-file", str(given.api_token_file)]
    api += ["--api-cluster", given.api_cluster] if given.api_cluster else []
    cluster = ["--ca-namespace", given.ca_namespace] if given.ca_namespace else []
    webhooks = ["--webhooks", given.webhooks, "--proxy-image", given.proxy_image]
    commands = [["signer", *options, *cluster], ["discovery", *options, *api]]
    commands += [["hooks", *options]] if given.hooks else []
    commands += [["webhooks", *options, *webhooks]] if given.webhooks else []
    await supervise(commands)


async def _child(given: argparse.Namespace) -> None:
    from plait_controlplane import process  # late: the parent needs neither gRPC nor FastAPI

    settings = Settings(
        source=None if given.source == CLUSTER else Path(given.source),
        state=given.state,
        sockets=given.sockets,
        discovery=given.discovery,
        identity=given.identity,
        api_listen=given.api_listen,
        api_token_file=given.api_token_file,
        api_cluster=given.api_cluster,
        advertise=given.advertise,
        ca_namespace=given.ca_namespace,
        webhooks=given.webhooks,
        proxy_image=given.proxy_image,
        hooks=given.hooks,
        kubeconfig=given.kubeconfig,
    )
    children = {
        "signer": process.signer,
        "discovery": process.discovery,
        "hooks": process.hooks,
        "webhooks": process.webhooks,
    }
    await children[given.command](settings)


async def _join_token(given: argparse.Namespace) -> None:
    from plait_controlplane.identity.internal import Client
    from plait_controlplane.settings import signer_socket

    signer = Client(signer_socket(given.sockets))
    try:
        print(await signer.join_token(given.workload, given.ttl))
    finally:
        await signer.close()
