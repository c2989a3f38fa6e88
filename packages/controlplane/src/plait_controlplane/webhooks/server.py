"""The process of the webhooks: its leaf, the bundle that the API server checks it with, and how proxies are started.

Called by `process`. The leaf is asked of the signer again and again, so that a new root, a new trust domain and a
restarted signer are followed; until the first one is there nothing is served, and what fails closed stays closed.
"""

import asyncio
import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from plait_controlplane.api.serving import ApiServer as HttpServer
from plait_controlplane.api.serving import tcp
from plait_controlplane.apiserver import ApiError, ApiServer, Object
from plait_controlplane.hooks.answers import Judge
from plait_controlplane.identity.https import ServedLeaf
from plait_controlplane.identity.internal import Away, Client
from plait_controlplane.identity.join_token import fingerprint
from plait_controlplane.injection.template import Template
from plait_controlplane.webhooks.endpoints import create

LOG = logging.getLogger(__name__)

NAME = "plait-webhooks.plait-system.svc"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
OURS = (("mutatingwebhookconfigurations", "plait-injection"), ("validatingwebhookconfigurations", "plait-validation"))
RENEW_SECONDS = 5.0
RETRY_SECONDS = 1.0
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Hooks:
    """Where to listen ("ip:port"), a folder for the leaf, and what proxies are started with."""

    listen: str
    folder: Path
    image: str
    discovery: str
    identity: str


class WebhookServer:
    """Use: `start`, `run`, later `stop`."""

    def __init__(self, hooks: Hooks, signer: Client, api: ApiServer, plugins: Judge | None = None) -> None:
        """`plugins` judge what is to be stored, beside the rules of ours."""
        self._hooks = hooks
        self._plugins = plugins
        self._leaf = ServedLeaf(signer, NAME, hooks.folder / "webhooks.pem")
        self._api = api
        self._template: Template | None = None
        self._bundle = ""
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """Waits for the signer, serves, and tells the API server whom to expect."""
        while True:
            if await self._follow():
                break
            await asyncio.sleep(RETRY_SECONDS)
        self._server = HttpServer(
            create(self._now, self._labels, self._plugins), tcp(self._hooks.listen), self._leaf.context
        )
        await self._server.start()
        await self._publish()
        LOG.info("webhooks listen=%s", self._hooks.listen)

    async def run(self) -> None:
        """Follows the signer until it is cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._follow()
            await self._publish()

    async def stop(self) -> None:
        """Lets requests in flight end."""
        if self._server is not None:
            await self._server.stop()

    def _now(self) -> Template:
        if self._template is None:
            raise RuntimeError("served before the start")
        return self._template

    async def _labels(self, namespace: str) -> Mapping[str, str]:
        found = await self._api.ask("GET", f"/api/v1/namespaces/{namespace}")
        return (found.get("metadata") or {}).get("labels") or {}

    async def _follow(self) -> bool:
        try:
            pair, trust_domain = await self._leaf.renew()
        except Away as error:
            LOG.warning("%s", error)
            return False
        roots = tuple(fingerprint(root) for root in pair.roots)
        hooks = self._hooks
        self._template = Template(hooks.image, hooks.discovery, hooks.identity, trust_domain, roots)
        pem = b"".join(root.public_bytes(serialization.Encoding.PEM) for root in pair.roots)
        self._bundle = base64.b64encode(pem).decode()
        return True

    async def _publish(self) -> None:
        """The bundle into both configurations, where it differs; what is not installed is left alone."""
        for kind, name in OURS:
            path = f"{CONFIGURATIONS}/{kind}/{name}"
            try:
                if steps := differences(await self._api.ask("GET", path), self._bundle):
                    await self._api.ask("PATCH", path, steps, content=JSON_PATCH)
                    LOG.info("%s: told the API server whom to expect", name)
            except ApiError as error:
                if error.status != 404:
                    LOG.warning("%s: the bundle is not published: %s", name, error)


def differences(configuration: Object, bundle: str) -> list[Object]:
    """A JSON patch that gives each webhook the bundle; it fails when the list was changed meanwhile."""
    steps: list[Object] = []
    for index, webhook in enumerate(configuration.get("webhooks") or []):
        if (webhook.get("clientConfig") or {}).get("caBundle", "") != bundle:
            at = f"/webhooks/{index}"
            steps.append({"op": "test", "path": f"{at}/name", "value": webhook.get("name")})
            steps.append({"op": "add", "path": f"{at}/clientConfig/caBundle", "value": bundle})
    return steps
