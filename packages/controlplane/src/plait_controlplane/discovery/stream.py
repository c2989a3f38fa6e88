"""Watch: one proxy's stream with its I/O. Called by the gRPC server; what is sent is decided in `subscription`.

Who the proxy is comes from its certificate alone: each workload that it names must have that identity, at every moment.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import grpc
import grpc.aio
from opentelemetry import metrics
from plait_sdk.contracts import discovery_pb2

from plait_controlplane.discovery.publisher import Publisher
from plait_controlplane.discovery.subscription import ProtocolError, Subscription
from plait_controlplane.status.proxies import Proxies

LOG = logging.getLogger(__name__)
METER = metrics.get_meter(__name__)
SENT = METER.create_counter("plait_discovery_messages_sent_total", description="Change sets and heartbeats.")
STREAMS = METER.create_up_down_counter("plait_discovery_streams", description="Connected proxies.")

PROTOCOL = 1
WORKLOADS = 1000  # a node of a cluster has some hundred pods at most

Context = grpc.aio.ServicerContext[discovery_pb2.WatchRequest, bytes]
Requests = AsyncIterator[discovery_pb2.WatchRequest]


@dataclass(frozen=True)
class Peer:
    """Who is at the far end, by its certificate."""

    identity: str
    not_after: datetime


class Stranger(Exception):
    """The certificate names nobody."""


Identify = Callable[[bytes], Peer]
"""A certificate (PEM) to a peer; raises Stranger."""


@dataclass(frozen=True)
class Hooks:
    """What a Hello tells the rest of the control plane."""

    reached: Callable[[tuple[str, ...], str], Awaitable[None]]
    """Workloads, and the IP address at which other proxies reach theirs."""
    overtaken: Callable[[int], Awaitable[bool]]
    """A generation higher than ours; True when we have come up to it."""


@dataclass(frozen=True)
class Timing:
    """Seconds. A test makes them short."""

    hello: float = 5.0
    heartbeat: float = 10.0
    answer: float = 30.0
    """A proxy builds a snapshot in milliseconds: one that says nothing for this long hangs."""


class Ended(Exception):
    """Why a stream ends, as the proxy is told."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Watch:
    """Serves all streams."""

    def __init__(self, publisher: Publisher, proxies: Proxies, identify: Identify, timing: Timing, told: Hooks) -> None:
        self._publisher, self._proxies = publisher, proxies
        self._identify, self._timing, self._told = identify, timing, told

    async def watch(self, requests: Requests, context: Context) -> AsyncIterator[bytes]:
        """The RPC."""
        try:
            peer = self._peer(context)
            hello = await self._hello(requests)
            self._check(hello.workloads, peer, vanished=False)
            if hello.address:
                # Believed, since it leads nobody astray: whoever is called there must prove to be that workload.
                await self._told.reached(tuple(hello.workloads), _reachable(hello.address))
            async for message in self._serve(hello, peer, requests):
                yield message
        except Ended as ended:
            LOG.warning("stream ended %s: %s", ended.code.name, ended.reason)
            await context.abort(ended.code, ended.reason)

    def _peer(self, context: Context) -> Peer:
        certificates = context.auth_context().get("x509_pem_cert", [])
        try:
            return self._identify(next(iter(certificates), b""))
        except Stranger as error:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error

    async def _hello(self, requests: Requests) -> discovery_pb2.Hello:
        try:
            first = await asyncio.wait_for(anext(requests), self._timing.hello)
        except (TimeoutError, StopAsyncIteration):
            raise Ended(grpc.StatusCode.INVALID_ARGUMENT, "Hello did not come") from None
        if first.WhichOneof("message") != "hello":
            raise Ended(grpc.StatusCode.INVALID_ARGUMENT, "Hello comes first")
        hello = first.hello
        if hello.protocol != PROTOCOL:
            reason = f"this control plane speaks protocol {PROTOCOL}, the proxy {hello.protocol}; update the older one"
            raise Ended(grpc.StatusCode.FAILED_PRECONDITION, reason)
        if not 1 <= len(hello.workloads) <= WORKLOADS:
            raise Ended(grpc.StatusCode.INVALID_ARGUMENT, f"Hello names {len(hello.workloads)} workloads")
        current = self._publisher.current.generation
        if hello.generation > current and not await self._told.overtaken(hello.generation):
            reason = (
                f"the proxy serves generation {hello.generation} and the control plane has {current}:"
                " another replica is ahead, or its state folder was lost or is another mesh's; restore it, or remove"
                " the proxy's state"
            )
            raise Ended(grpc.StatusCode.FAILED_PRECONDITION, reason)
        return hello

    def _check(self, workloads: Any, peer: Peer, vanished: bool) -> None:
        """`vanished`: whether a workload may be gone, as it may while its proxy is connected."""
        if peer.not_after <= datetime.now(UTC):
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, "the certificate expired; renew it and connect again")
        identities = self._publisher.current.identities
        for workload in workloads:
            identity = identities.get(workload)
            if identity is None and not vanished:
                raise Ended(grpc.StatusCode.NOT_FOUND, f"the mesh has no Workload {workload}")
            if identity is not None and identity != peer.identity:
                reason = f"{workload} is {identity}, and the certificate is for {peer.identity}"
                raise Ended(grpc.StatusCode.PERMISSION_DENIED, reason)

    async def _serve(self, hello: discovery_pb2.Hello, peer: Peer, requests: Requests) -> AsyncIterator[bytes]:
        state = self._proxies.connected(hello.proxy, tuple(hello.workloads), hello.proxy_version)
        STREAMS.add(1)
        LOG.info("proxy=%s workloads=%s version=%s", state.proxy, ",".join(state.workloads), state.version)
        with self._publisher.notices() as notice:
            reader: asyncio.Task[None] | None = None
            try:
                subscription = Subscription(hello, state)
                reader = asyncio.create_task(_read(requests, subscription, notice))
                async for message in self._messages(subscription, peer, notice, reader):
                    SENT.add(1)
                    yield message
            except ProtocolError as error:
                raise Ended(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
            finally:
                if reader is not None:
                    reader.cancel()
                self._proxies.gone(state)
                STREAMS.add(-1)
                LOG.info("proxy=%s is gone", state.proxy)

    async def _messages(
        self, subscription: Subscription, peer: Peer, notice: asyncio.Event, reader: asyncio.Task[None]
    ) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        beat = clock() + self._timing.heartbeat
        asked = clock()
        while not reader.done():
            notice.clear()
            self._check(subscription.workloads, peer, vanished=True)
            while (message := subscription.next(self._publisher.current)) is not None:
                asked = clock()
                beat = asked + self._timing.heartbeat
                yield message
            if subscription.waiting and clock() >= asked + self._timing.answer:
                _silent(self._timing.answer)
            if clock() >= beat:
                beat = clock() + self._timing.heartbeat
                yield subscription.heartbeat()
            until = min(beat, asked + self._timing.answer) if subscription.waiting else beat
            try:
                async with asyncio.timeout_at(until):
                    await notice.wait()
            except TimeoutError:
                continue
        reader.result()  # a ProtocolError of the reader ends the stream


def _reachable(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise Ended(grpc.StatusCode.INVALID_ARGUMENT, f"Hello's address {address[:80]!r} is no IP address") from None
    if found.is_unspecified or found.is_multicast:
        raise Ended(grpc.StatusCode.INVALID_ARGUMENT, f"nobody reaches a proxy at {found}")
    return str(found)


def _silent(seconds: float) -> NoReturn:
    raise Ended(grpc.StatusCode.DEADLINE_EXCEEDED, f"a change set was not answered within {seconds:g} s")


async def _read(requests: Requests, subscription: Subscription, notice: asyncio.Event) -> None:
    try:
        async for request in requests:
            subscription.receive(request)
            notice.set()
    finally:
        notice.set()
