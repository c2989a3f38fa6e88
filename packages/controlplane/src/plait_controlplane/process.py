"""The child processes from start to end: `signer`, `discovery`, and where they are wanted `hooks` and `webhooks`.

Called by `cli`; SIGTERM and SIGINT end them.
"""

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from plait_controlplane import apiserver
from plait_controlplane.api.endpoints import create
from plait_controlplane.api.guards import Viewers, shared_token
from plait_controlplane.api.serving import ApiServer, tcp, unix
from plait_controlplane.app import ControlPlane
from plait_controlplane.hooks.client import Client as HooksClient
from plait_controlplane.hooks.enabled import BadFile, read_enabled
from plait_controlplane.hooks.host import Host, Stuck
from plait_controlplane.identity.authority import Authority
from plait_controlplane.identity.ca_secret import CaSecret
from plait_controlplane.identity.https import ServedLeaf
from plait_controlplane.identity.internal import Client
from plait_controlplane.identity.on_cluster import first_root, follow
from plait_controlplane.identity.server import SignerServer
from plait_controlplane.identity.service_account import reviewer
from plait_controlplane.identity.signer import Signer
from plait_controlplane.resources.world import ROOT_NAMESPACE
from plait_controlplane.settings import Settings
from plait_controlplane.sources.folder import FolderSource
from plait_controlplane.sources.kubernetes import KubernetesSource
from plait_controlplane.sources.source import Source
from plait_controlplane.status.lease import Lease
from plait_controlplane.status.writer import StatusWriter
from plait_controlplane.view import LiveView
from plait_controlplane.webhooks.server import Hooks as Injected
from plait_controlplane.webhooks.server import WebhookServer

LOG = logging.getLogger(__name__)

# As `identity.https` shows it. The API server does not look when it passes a request on; others may.
API_NAME = "plait-controlplane.plait-system.svc"

# 128 bits in base64: anything shorter can be guessed.
SHORTEST_TOKEN = 22


class BadToken(Exception):
    """The API's token cannot guard anything."""


async def signer(settings: Settings) -> None:
    """Serves until it is told to end."""
    ended = _ended()
    if settings.ca_namespace:
        await _signer_on_cluster(settings, ended)
        return
    plugins = _plugins(settings)
    address = settings.for_others(settings.identity)
    authority = Signer(Authority(settings.authority), address, grant=plugins.permit if plugins else None)
    server = SignerServer(authority, settings.identity, settings.signer_socket)
    await server.start()
    await ended.wait()
    await server.stop()


async def _signer_on_cluster(settings: Settings, ended: asyncio.Event) -> None:
    async with await apiserver.ApiServer.connect(settings.kubeconfig) as api:
        secret = CaSecret(api, settings.ca_namespace, settings.authority)
        if not await _before(first_root(secret), ended):
            return
        authority = Authority(settings.authority)
        plugins = _plugins(settings)
        address, grant = settings.for_others(settings.identity), plugins.permit if plugins else None
        signer = Signer(authority, address, reviewer(api), grant)
        server = SignerServer(signer, settings.identity, settings.signer_socket)
        await server.start()
        await _before(follow(secret, authority, server), ended)
        await server.stop()


async def webhooks(settings: Settings) -> None:
    """Serves until it is told to end."""
    ended = _ended()
    discovery, identity = settings.for_others(settings.discovery), settings.for_others(settings.identity)
    injected = Injected(settings.webhooks, settings.sockets, settings.proxy_image, discovery, identity)
    client = Client(settings.signer_socket)
    async with await apiserver.ApiServer.connect(settings.kubeconfig) as api:
        server = WebhookServer(injected, client, api, _plugins(settings))
        if await _before(server.start(), ended):
            await _before(server.run(), ended)
        await server.stop()
    await client.close()


def _plugins(settings: Settings) -> HooksClient | None:
    return HooksClient(settings.hooks_socket) if settings.hooks else None


async def hooks(settings: Settings) -> None:
    """Serves until it is told to end, or a plugin makes it useless."""
    ended = _ended()
    if settings.hooks is None:
        raise BadFile("--hooks is missing: it names the plugins")
    host = Host(read_enabled(settings.hooks), settings.hooks_socket)
    try:
        await _before(host.start(), ended)
        await _before(host.run(), ended)
    except* Stuck as stuck:
        LOG.error("%s", stuck.exceptions[0])
        os._exit(1)  # a thread that never ends would keep the interpreter from it
    await host.stop()


async def discovery(settings: Settings) -> None:
    """Serves until it is told to end; prints one line when everything listens."""
    ended = _ended()
    read = await source(settings)
    control = ControlPlane(settings, read)
    apis: list[ApiServer] = []
    try:
        start = asyncio.create_task(control.start())
        stop = asyncio.create_task(ended.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
            return
        start.result()
        apis, leaf = await _apis(settings, control, read)
        for api in apis:
            await api.start()
        # What was read stays; to look through thousands of objects for cycles again and again would cost each change.
        gc.freeze()
        ready = f"ready: discovery {settings.discovery}, identity {settings.identity}, "
        sys.stdout.write(f"{ready}generation {control.generation.number}\n")
        sys.stdout.flush()
        run = asyncio.create_task(_follow(control, read, leaf))
        await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            run.result()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    finally:
        await asyncio.gather(*(api.stop() for api in apis), control.stop())


async def _apis(settings: Settings, control: ControlPlane, read: Source) -> tuple[list[ApiServer], ServedLeaf | None]:
    """The API wherever it is to listen, and what it shows to a cluster."""
    view = LiveView(control)
    found = [ApiServer(create(view), unix(settings.api_socket))]
    if settings.api_listen is not None:
        guard = shared_token(_token(settings.api_token_file))
        found.append(ApiServer(create(view, guard), tcp(settings.api_listen)))
        _warn(settings.api_listen)
    if not settings.api_cluster or not isinstance(read, KubernetesSource):
        return found, None
    leaf = ServedLeaf(control.signer, API_NAME, settings.sockets / "api.pem")
    await leaf.first()
    app = create(view, Viewers(read.api).guard, makes_tokens=False)
    found.append(ApiServer(app, tcp(settings.api_cluster), leaf.context))
    return found, leaf


async def _before(work: Coroutine[None, None, None], ended: asyncio.Event) -> bool:
    """Does the work; False when we were told to end before it was done. Raises what it raised."""
    task, stop = asyncio.create_task(work), asyncio.create_task(ended.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def _follow(control: ControlPlane, read: Source, leaf: ServedLeaf | None) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.run())
        if leaf is not None:
            tasks.create_task(leaf.run())
        if isinstance(read, KubernetesSource):
            lease = Lease(read.api, os.environ.get("POD_NAMESPACE", ROOT_NAMESPACE))
            tasks.create_task(StatusWriter(read.api, lease, read.path, control.told).run())


async def source(settings: Settings) -> Source:
    """What the control plane reads; raises ApiError where nothing says how a cluster is reached."""
    if settings.source is not None:
        return FolderSource(settings.source, settings.state)
    return KubernetesSource(await apiserver.ApiServer.connect(settings.kubeconfig))


def _ended() -> asyncio.Event:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    return ended


def _token(file: Path | None) -> str:
    if file is None:
        raise BadToken("--api-listen needs --api-token-file: whoever reaches the port could make join tokens")
    token = file.read_text().strip()
    if len(token) < SHORTEST_TOKEN:
        raise BadToken(f"the token in {file} is shorter than {SHORTEST_TOKEN} characters; write a random one")
    return token


def _warn(listen: str) -> None:
    host = listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if not ipaddress.ip_address(host).is_loopback:
        LOG.warning("the API on %s is not encrypted: its token can be read on the way", listen)
