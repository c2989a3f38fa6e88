"""A leaf for an HTTPS server of ours that the API server calls, by its Service's name. Called by `process`, `webhooks`.

The leaf is asked of the signer, and its key is on a disk no longer than the library needs to read it.
"""

import asyncio
import logging
import ssl
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from plait_controlplane.identity.authority import write_secret
from plait_controlplane.identity.credentials import KeyPair
from plait_controlplane.identity.internal import Away, Client

LOG = logging.getLogger(__name__)

# A leaf lives for a day.
RENEW_SECONDS = 3600.0
RETRY_SECONDS = 1.0


class ServedLeaf:
    """`context` is what a server shows, from the next handshake on after each `renew`."""

    def __init__(self, signer: Client, name: str, file: Path) -> None:
        """`name` is the Service's host name; `file` a place that only we can read."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._signer = signer
        self._name = name
        self._file = file

    async def renew(self) -> tuple[KeyPair, str]:
        """Another leaf, and the trust domain of the mesh; raises Away."""
        pair, trust_domain = await self._signer.server([self._name])
        self._show(pair)
        return pair, trust_domain

    async def first(self) -> None:
        """Returns when there is one, however long the signer takes."""
        while True:
            if await self._tried():
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def run(self) -> None:
        """Renews it until it is cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.first()

    async def _tried(self) -> bool:
        try:
            await self.renew()
        except Away as error:
            LOG.warning("no certificate for %s: %s", self._name, error)
            return False
        return True

    def _show(self, pair: KeyPair) -> None:
        """The library reads files only."""
        key = pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in pair.chain)
        write_secret(self._file, key + chain)
        self.context.load_cert_chain(self._file)
        self._file.unlink()
