"""The signer's sockets: the contract's Identity service over TLS, and the Unix socket for the discovery process.

Called by `app` as a process of its own. The TCP port opens when the mesh is known, since the server's own identity
needs the trust domain.
"""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio
from plait_sdk.contracts import identity_pb2, identity_pb2_grpc

from plait_controlplane.identity import internal
from plait_controlplane.identity.credentials import ServerIdentity
from plait_controlplane.identity.proof import Fault, Refused
from plait_controlplane.identity.service_account import Unreviewed
from plait_controlplane.identity.signer import NotToldYet, Signer

LOG = logging.getLogger(__name__)

# A request is a CSR and a token or a short chain: anything larger comes from a stranger who means harm.
OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.max_concurrent_streams", 16),
    ("grpc.so_reuseport", 0),  # a second control plane on the port must fail, not share it
]
CONCURRENT = 64
STATUS = {
    Fault.UNPROVEN: grpc.StatusCode.UNAUTHENTICATED,
    Fault.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
}
RENEWAL_CHECK = timedelta(minutes=10)


class IdentityService(identity_pb2_grpc.IdentityServicer):
    """plait.v1.Identity."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    async def Sign(
        self, request: identity_pb2.SignRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> identity_pb2.SignResponse:
        """Signs, or says why not."""
        try:
            return await self._signer.sign(request)
        except Refused as refused:
            await _abort(context, STATUS[refused.fault], refused.reason)
        except (NotToldYet, Unreviewed) as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))


async def _abort(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)
    raise AssertionError("abort raises")


class SignerServer:
    """Both servers of the signer. Use: `start`, later `stop`."""

    def __init__(self, signer: Signer, listen: str, socket: Path) -> None:
        self.signer = signer
        self._listen = listen
        self._socket = socket
        self._identity: ServerIdentity | None = None
        self._public: grpc.aio.Server | None = None
        self._private = grpc.aio.server()
        self._opening = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens the Unix socket; the TCP port follows when discovery has said what mesh this is."""
        self._socket.unlink(missing_ok=True)
        self._private.add_generic_rpc_handlers((internal.handler(self.signer, self._told),))
        self._private.add_insecure_port(f"unix:{self._socket}")
        await self._private.start()
        self._socket.chmod(0o600)
        self._renewal = asyncio.create_task(self._renew_forever(), name="own leaf")
        LOG.info("signer socket=%s root=%s", self._socket, self.signer.authority.folder / "root.pem")

    async def stop(self) -> None:
        """Lets requests in flight end."""
        if self._renewal is not None:
            self._renewal.cancel()
        for server in (self._public, self._private):
            if server is not None:
                await server.stop(grace=1.0)

    async def root_changed(self) -> None:
        """The authority has another root: from the next handshake on we show a leaf of that one."""
        async with self._opening:
            if self._identity is not None:
                self._identity.replace(self.signer.own_pair())

    async def _told(self, changed: bool) -> None:
        async with self._opening:
            if self._identity is None:
                await self._open()
            elif changed:
                self._identity.replace(self.signer.own_pair())

    async def _open(self) -> None:
        identity = ServerIdentity(self.signer.own_pair(), clients=False)
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CONCURRENT)
        identity_pb2_grpc.add_IdentityServicer_to_server(IdentityService(self.signer), server)
        server.add_secure_port(self._listen, identity.credentials())
        await server.start()
        self._identity, self._public = identity, server
        LOG.info("identity listen=%s trust_domain=%s", self._listen, self.signer.mesh.trust_domain)

    async def _renew_forever(self) -> None:
        """At half of its life the signer's own leaf is replaced."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK.total_seconds())
            if self._identity is not None and self.signer.authority.clock() >= self._identity.pair.half_life:
                self._identity.replace(self.signer.own_pair())
