"""`plait install` and `plait upgrade`: the mesh onto a cluster, again and again the same."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer
from plait_controlplane.apiserver import ApiServer

from plait_cli import __version__
from plait_cli.errors import USAGE, Failure
from plait_cli.install import checks, progress
from plait_cli.install.cluster import ContextOption, KubeconfigOption, apply, connected, find, until
from plait_cli.install.manifests import control_plane, crds, everything, hooks, text
from plait_cli.install.settings import NAME, NAMESPACE, Settings
from plait_cli.output import console, count

RegistryOption = Annotated[str, typer.Option("--registry", help="Stands before the images' names: example.com/mirror.")]
TagOption = Annotated[str, typer.Option("--image-tag", help="Of the images; default: this command's version.")]
ReplicasOption = Annotated[int, typer.Option("--replicas", min=1, max=9, help="Of the control plane.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait for each step.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the objects and leave the cluster alone.")]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="With --dry-run: yaml.")]


def install(
    dry_run: DryRunOption = False,
    output: OutputOption = "yaml",
    registry: RegistryOption = "",
    image_tag: TagOption = __version__,
    replicas: ReplicasOption = 2,
    timeout: TimeoutOption = 180.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Installs the mesh on a cluster, or brings what is there into the same state. Waits until it works."""
    settings = Settings(registry, image_tag, replicas)
    if output != "yaml":
        raise Failure(f"-o {output} is not written; write -o yaml", code=USAGE)
    if dry_run:
        print(text(everything(settings)), end="")
        return
    asyncio.run(_install(settings, timeout, (kubeconfig, context)))
    console().print(
        "Next: kubectl label namespace shop plait.dev/inject=enabled && kubectl -n shop rollout restart deployment",
        markup=False,
    )


def upgrade(
    registry: RegistryOption = "",
    image_tag: TagOption = __version__,
    replicas: ReplicasOption = 2,
    timeout: TimeoutOption = 180.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Brings an installed mesh to this command's version. Proxies follow when their pods are started again."""
    settings = Settings(registry, image_tag, replicas)
    asyncio.run(_upgrade(settings, timeout, (kubeconfig, context)))


async def _upgrade(settings: Settings, patience: float, where: tuple[Path | None, str | None]) -> None:
    async with connected(*where) as api:
        if await find(api, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}") is None:
            raise Failure("there is no mesh on this cluster to upgrade", "plait install makes one")
    await _install(settings, patience, where)
    async with connected(*where) as api:
        old = [pod for pod, image in await checks.proxies(api) if image != settings.image("proxy")]
    if old:
        shown = ", ".join(old[:3]) + (" …" if len(old) > 3 else "")
        print(f"! {count(len(old), 'pod')} with another proxy: {shown}; kubectl rollout restart their Deployments")


async def _install(settings: Settings, patience: float, where: tuple[Path | None, str | None]) -> None:
    async with connected(*where) as api:
        for line in await checks.before(api):
            if line.state == "failed":
                raise Failure(f"{line.what}: {line.said}", line.hint)
            print(line.text())
        kinds, configurations = crds(), hooks()
        with _Step("CRDs", f"{len(kinds)} of ours") as step:
            await apply(api, kinds)
            await until(lambda: progress.established(api, kinds), patience, step.say, "our kinds are not served")
        await _control_plane(api, settings, patience)
        with _Step("injection", "fails closed for what is labelled plait.dev/inject=enabled") as step:
            await until(lambda: progress.hooked(api, configurations), patience, step.say, "the webhooks are not ready")


async def _control_plane(api: ApiServer, settings: Settings, patience: float) -> None:
    with _Step("control plane", f"{settings.replicas} of {settings.replicas} ready in {NAMESPACE}") as step:
        first, *rest = control_plane(settings)
        # The webhooks before what serves them: a pod that has opted in waits rather than starts without its proxy.
        await apply(api, [first, *hooks(), *rest])
        await until(lambda: progress.available(api), patience, step.say, "the control plane is not ready")


class _Step:
    """One line of progress, with how long it took; what it waits for beneath while it waits."""

    def __init__(self, name: str, done: str) -> None:
        self._name, self._done = name, done
        self._began = time.monotonic()

    def say(self, waits: str) -> None:
        """What is missing now."""
        print(f"· {self._name:14} {waits}", flush=True)

    def __enter__(self) -> "_Step":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            print(f"✓ {self._name:14} {self._done:58} {time.monotonic() - self._began:5.1f} s", flush=True)
