"""The objects of an installation on a cluster: put there, waited for, taken away. Called by the verbs."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from plait_controlplane.apiserver import APPLY_PATCH, ApiError, ApiServer

from plait_cli.errors import UNREACHABLE, Failure
from plait_cli.install.settings import FIELD_MANAGER

Object = dict[str, Any]

POLL_SECONDS = 0.5

# Plural by kind, and whether it lies in a namespace: what an installation is made of.
KINDS = {
    "CustomResourceDefinition": ("customresourcedefinitions", False),
    "Namespace": ("namespaces", False),
    "ServiceAccount": ("serviceaccounts", True),
    "Service": ("services", True),
    "Deployment": ("deployments", True),
    "PodDisruptionBudget": ("poddisruptionbudgets", True),
    "ClusterRole": ("clusterroles", False),
    "ClusterRoleBinding": ("clusterrolebindings", False),
    "Role": ("roles", True),
    "RoleBinding": ("rolebindings", True),
    "MutatingWebhookConfiguration": ("mutatingwebhookconfigurations", False),
    "ValidatingWebhookConfiguration": ("validatingwebhookconfigurations", False),
}

KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", help="How the cluster is reached; default: as kubectl does.")
]
ContextOption = Annotated[str | None, typer.Option("--context", help="Of the kubeconfig; default: its current one.")]


@asynccontextmanager
async def connected(kubeconfig: Path | None, context: str | None) -> AsyncIterator[ApiServer]:
    """The cluster; a Failure in the user's words where it does not answer or refuses."""
    try:
        async with await ApiServer.connect(kubeconfig, context) as api:
            yield api
    except ApiError as error:
        if error.is_away:
            raise Failure(str(error), "does kubectl get nodes answer?", UNREACHABLE) from error
        raise Failure(f"the API server refuses: {error}") from error


def path(one: Object) -> str:
    """Where an object lies on the API server."""
    plural, namespaced = KINDS[one["kind"]]
    version, metadata = one["apiVersion"], one["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{metadata['namespace']}" if namespaced else ""
    return f"{root}{place}/{plural}/{metadata['name']}"


async def apply(api: ApiServer, objects: list[Object]) -> None:
    """Puts each there as it is written; what others added to it stays. A second time changes nothing."""
    query = {"fieldManager": FIELD_MANAGER, "force": "true"}
    for one in objects:
        await api.ask("PATCH", path(one), one, query, APPLY_PATCH)


async def find(api: ApiServer, where: str) -> Object | None:
    """What lies there; None = nothing."""
    try:
        return await api.ask("GET", where)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def delete(api: ApiServer, objects: list[Object]) -> int:
    """Takes each away, the last first; returns how many there were."""
    found = 0
    for one in reversed(objects):
        try:
            await api.ask("DELETE", path(one), query={"propagationPolicy": "Background"})
            found += 1
        except ApiError as error:
            if error.status != 404:
                raise
    return found


async def until(ready: Callable[[], Awaitable[str]], seconds: float, say: Callable[[str], None], what: str) -> None:
    """Waits until `ready` has nothing to say; what it waits for is said when it changes. Failure at the deadline."""
    deadline = time.monotonic() + seconds
    told = ""
    while missing := await ready():
        if missing != told:
            say(missing)
        told = missing
        if time.monotonic() > deadline:
            raise Failure(f"{what} within {seconds:g} s: {missing}", "plait check says more")
        await asyncio.sleep(POLL_SECONDS)
