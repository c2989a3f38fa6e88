"""`plait uninstall`: nothing of the mesh is left on a cluster."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from plait_cli.install import checks, progress
from plait_cli.install.cluster import ContextOption, KubeconfigOption, connected, delete, until
from plait_cli.install.manifests import control_plane, crds, hooks
from plait_cli.install.settings import Settings
from plait_cli.output import count

KeepOption = Annotated[bool, typer.Option("--keep-objects", help="Leave our kinds, and what users wrote of them.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait until all is gone.")]


def uninstall(
    keep_objects: KeepOption = False,
    timeout: TimeoutOption = 180.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Takes the mesh off a cluster: control plane, webhooks, rights, root key, and our kinds with their objects."""
    asyncio.run(_uninstall(keep_objects, timeout, (kubeconfig, context)))


async def _uninstall(keep: bool, patience: float, where: tuple[Path | None, str | None]) -> None:
    async with connected(*where) as api:
        left = await checks.proxies(api)
        # The webhooks first: nobody must wait for what is going away.
        objects = [*([] if keep else crds()), *control_plane(Settings()), *hooks()]
        found = await delete(api, objects)
        await until(lambda: progress.gone(api, objects), patience, print, "the mesh is not gone")
    print(f"✓ {count(found, 'object')} removed" if found else "✓ there was nothing to remove")
    if left:
        print(
            f"! {count(len(left), 'pod')} still with a proxy that nobody answers any more: {left[0][0]}"
            f"{' …' if len(left) > 1 else ''}; kubectl rollout restart their Deployments"
        )
