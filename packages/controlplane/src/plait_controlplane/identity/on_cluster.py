"""The signer's root on a cluster, over time: there at the start, and followed. Called by `process`."""

import asyncio
import logging

from plait_controlplane.apiserver import ApiError
from plait_controlplane.identity.authority import Authority, BadRoot
from plait_controlplane.identity.ca_secret import CaSecret
from plait_controlplane.identity.server import SignerServer

LOG = logging.getLogger(__name__)

FOLLOW_SECONDS = 10.0
RETRY_SECONDS = 1.0


async def first_root(secret: CaSecret) -> None:
    """Returns when the root is there. Until then nothing can be signed: it is tried for as long as it takes."""
    told = ""
    while True:
        try:
            await secret.fetch()
            return
        except (ApiError, BadRoot) as error:
            if str(error) != told:
                LOG.error("no root yet: %s", error)
            told = str(error)
        await asyncio.sleep(RETRY_SECONDS)


async def follow(secret: CaSecret, authority: Authority, server: SignerServer) -> None:
    """Takes each change of the Secret until it is cancelled. What cannot be read leaves everything as it is."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            if await secret.fetch():
                authority.reload()
                await server.root_changed()
                LOG.info("the root or the trusted roots changed; %d are trusted", len(authority.bundle()))
        except (ApiError, BadRoot) as error:
            LOG.warning("the root is not read anew: %s", error)
