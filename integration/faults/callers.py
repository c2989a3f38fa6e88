"""Owns the four ways in which an application calls: each a library of others, as applications use it.

Called by the rig and by compare.py. Every call is one that must not be repeated (POST; gRPC), and no library may do so:
what a caller does not get is counted. The one exception is a connection that was refused, since then nobody got
anything: it is dialled again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import grpc
import grpc.aio
import httpx
from openloop import Answer, Caller, Request

METHOD = "/plait.test.Faults/Echo"
CONNECTIONS = 64
"""Of HTTP/1.1, at most: an application's pool. Requests wait for one of them as they do there."""
IDLE_SECONDS = 0.5
"""A connection that rested for longer is not used again: a server that ends closes it after a second, unannounced."""
REDIAL_SECONDS = 0.05
LARGEST = 1 << 20


@dataclass
class Http1:
    """aiohttp on connections that are kept, or on one for each request."""

    name: str
    service: str
    url: str
    session: aiohttp.ClientSession
    refused: int = 0

    async def call(self, request: Request) -> Answer:
        headers = {**fields(request), "host": self.service}
        while True:
            try:
                async with self.session.post(self.url, data=request.body, headers=headers) as response:
                    body = await response.read()
                    return read(response.status, response.headers, body)
            except aiohttp.ClientConnectorError:
                self.refused += 1
                await asyncio.sleep(REDIAL_SECONDS)


@dataclass
class Http2:
    """httpx, HTTP/2 by prior knowledge: all requests on one connection."""

    name: str
    service: str
    url: str
    client: httpx.AsyncClient
    refused: int = 0

    async def call(self, request: Request) -> Answer:
        headers = {**fields(request), "host": self.service}
        while True:
            try:
                response = await self.client.post(self.url, content=request.body, headers=headers)
                return read(response.status_code, response.headers, response.content)
            except httpx.ConnectError:
                self.refused += 1
                await asyncio.sleep(REDIAL_SECONDS)


@dataclass
class Grpc:
    """grpcio: unary calls on one channel. `wait_for_ready`: it dials again by itself."""

    name: str
    service: str
    echo: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
    refused: int = field(default=0)

    async def call(self, request: Request) -> Answer:
        call = self.echo(request.body, metadata=tuple(fields(request).items()), wait_for_ready=True)
        try:
            body = await call
        except grpc.aio.AioRpcError as error:
            return Answer(503, said=f"{error.code().name} {error.details()}")
        told = dict(await call.initial_metadata())
        return Answer(200, int(str(told.get("x-number", -1))), str(told.get("x-place", "")), body)


def fields(request: Request) -> dict[str, str]:
    """What travels beside a body. The trace is how a line of an access log is told from another."""
    trace = f"00-{request.number + 1:032x}-{1:016x}-00"
    return {"x-number": str(request.number), "x-digest": request.digest, "traceparent": trace}


def read(status: int, headers: "httpx.Headers | aiohttp.typedefs.LooseHeaders", body: bytes) -> Answer:
    """An answer of a process, or of the mesh in its place."""
    found = {str(name).lower(): str(value) for name, value in dict(headers).items()}  # type: ignore[arg-type]  # both are pairs of texts
    said = found.get("plait-reason", "")
    if status != 200:
        said = f"{said} {body[:160].decode(errors='replace')}".strip()
    return Answer(status, int(found.get("x-number", -1)), found.get("x-place", ""), body, said)


@asynccontextmanager
async def callers(http: int, calls: int) -> AsyncIterator[list[tuple[Caller, int]]]:
    """All four, with their shares. `http`, `calls`: ports on loopback where alpha and beta are called."""
    url = f"http://127.0.0.1:{http}/echo"
    async with AsyncExitStack() as stack:
        kept = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
        once = aiohttp.TCPConnector(limit=0, force_close=True)
        keep = await stack.enter_async_context(session(kept))
        each = await stack.enter_async_context(session(once))
        client = await stack.enter_async_context(
            httpx.AsyncClient(http1=False, http2=True, timeout=None, trust_env=False)
        )
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.max_receive_message_length", LARGEST),
        ]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{calls}", options))
        yield [
            (Http1("http1", "alpha", url, keep), 50),
            (Http1("one-shot", "alpha", url, each), 10),
            (Http2("http2", "alpha", url, client), 10),
            (Grpc("grpc", "beta", channel.unary_unary(METHOD)), 30),
        ]


def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """Without limits of its own: those of the load and of the mesh are what is tested."""
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
