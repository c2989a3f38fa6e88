"""What tests of the control plane share: free addresses, and a TLS client that checks SPIFFE names as a proxy does."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from plait_controlplane.identity.credentials import KeyPair
from plait_controlplane.identity.names import identity_of

Connect = Callable[..., Awaitable[grpc.aio.Channel]]


@pytest.fixture
def free_address() -> str:
    """An address of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """`await connect(address, roots, server, pair=None)`: a gRPC channel over TLS to the server of that identity.

    gRPC's own client compares host names only, so TLS is Python's and the SPIFFE name is compared here.
    """
    async with AsyncExitStack() as stack:

        async def open_channel(
            address: str, roots: list[x509.Certificate], server: str, pair: KeyPair | None = None
        ) -> grpc.aio.Channel:
            context = _context(tmp_path, roots, pair)
            relayed = await stack.enter_async_context(_relay(address, context, server))
            return await stack.enter_async_context(grpc.aio.insecure_channel(relayed))

        yield open_channel


def _context(folder: Path, roots: list[x509.Certificate], pair: KeyPair | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata="".join(map(pem, roots)))
    if pair is not None:
        file = folder / f"client-{pair.chain[0].serial_number}.pem"
        key = pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_text(key.decode() + "".join(map(pem, pair.chain)))
        context.load_cert_chain(file)
    return context


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@asynccontextmanager
async def _relay(address: str, context: ssl.SSLContext, server: str) -> AsyncIterator[str]:
    host, _, port = address.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="")
        except OSError:
            writer.close()
            return
        shown = far_writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert identity_of(x509.load_der_x509_certificate(shown)) == server
        # Cancelled when the fixture ends; asyncio's own callback would log that as an error.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    near = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{near.sockets[0].getsockname()[1]}"
    finally:
        near.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()
