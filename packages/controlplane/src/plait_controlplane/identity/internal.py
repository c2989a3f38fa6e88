"""The Unix socket between the discovery process and the signer: its four questions and the client that asks them.

Not part of the contract: both ends are always of one version. Whoever can open the socket (mode 0600) is trusted.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509

from plait_controlplane.identity.credentials import KeyPair, der, new_key, request
from plait_controlplane.identity.proof import Fault, Mesh, Refused
from plait_controlplane.identity.signer import NotToldYet, Signer

SERVICE = "plait.controlplane.Signer"
TIMEOUT_SECONDS = 5.0

Answer = dict[str, Any]


class Away(Exception):
    """The signer does not answer."""


def handler(signer: Signer, told: Callable[[bool], Awaitable[None]]) -> "grpc.GenericRpcHandler[Any, Any]":
    """Serves the socket. `told(changed)` runs after each Tell, before its answer."""

    async def tell(said: Answer, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        mesh = Mesh(said["trust_domain"], timedelta(seconds=said["lifetime_seconds"]), said["accounts"])
        await told(signer.tell(mesh))
        return {"roots": _text(signer.authority.bundle())}

    async def own(said: Answer, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        try:
            signed = signer.own(base64.b64decode(said["csr"]))
        except NotToldYet as error:
            return await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return {"chain": _text([signed.leaf]), "roots": _text(signed.roots)}

    async def server(said: Answer, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        try:
            signed = signer.server(base64.b64decode(said["csr"]), said["names"])
        except NotToldYet as error:
            return await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Refused as refused:
            return await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, refused.reason)
        mesh = signer.mesh
        return {"chain": _text([signed.leaf]), "roots": _text(signed.roots), "trust_domain": mesh.trust_domain}

    async def join(said: Answer, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        try:
            return {"token": signer.join_token(said["workload"], said["ttl_seconds"])}
        except NotToldYet as error:
            return await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Refused as refused:
            return await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, refused.reason)

    methods = {"Tell": tell, "Own": own, "Server": server, "JoinToken": join}
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {name: grpc.unary_unary_rpc_method_handler(method, json.loads, _dump) for name, method in methods.items()},
    )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, reason: str) -> Answer:
    await context.abort(code, reason)
    raise AssertionError("abort raises")


class Client:
    """The discovery process's end."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            # The socket is local: a signer that was restarted is found again at once.
            options=[("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500)],
        )
        self._told: Mesh | None = None

    async def tell(self, mesh: Mesh) -> list[x509.Certificate]:
        """Says what mesh this is; returns the roots to be trusted."""
        self._told = mesh
        accounts = dict(mesh.accounts)
        lifetime = mesh.lifetime.total_seconds()
        answer = await self._ask(
            "Tell", {"trust_domain": mesh.trust_domain, "lifetime_seconds": lifetime, "accounts": accounts}
        )
        return _certificates(answer["roots"])

    async def own(self) -> KeyPair:
        """A fresh key with the control plane's leaf."""
        key = new_key()
        answer = await self._ask("Own", {"csr": base64.b64encode(request(key)).decode()})
        return KeyPair(key, tuple(_certificates(answer["chain"])), tuple(_certificates(answer["roots"])))

    async def server(self, names: list[str]) -> tuple[KeyPair, str]:
        """A fresh key with a leaf for host names of ours, and the mesh's trust domain.

        Raises Refused, and Away until discovery has spoken.
        """
        key = new_key()
        answer = await self._ask("Server", {"csr": base64.b64encode(request(key)).decode(), "names": names})
        pair = KeyPair(key, tuple(_certificates(answer["chain"])), tuple(_certificates(answer["roots"])))
        return pair, str(answer["trust_domain"])

    async def join_token(self, workload: str, ttl_seconds: int) -> str:
        """A join token; raises Refused."""
        return str((await self._ask("JoinToken", {"workload": workload, "ttl_seconds": ttl_seconds}))["token"])

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close(None)

    async def _ask(self, method: str, question: Answer) -> Answer:
        call = self._channel.unary_unary(f"/{SERVICE}/{method}", _dump, json.loads)
        try:
            answer: Answer = await call(question, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION and self._told is not None:
                await self.tell(self._told)  # it was restarted since
                return await self._ask(method, question)
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise Refused(Fault.MALFORMED, error.details() or "") from error
            raise Away(f"the signer does not answer: {error.code().name} {error.details()}") from error
        return answer


def _dump(value: Answer) -> bytes:
    return json.dumps(value).encode()


def _text(certificates: list[x509.Certificate]) -> list[str]:
    return [base64.b64encode(one).decode() for one in der(certificates)]


def _certificates(texts: list[str]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(base64.b64decode(text)) for text in texts]
