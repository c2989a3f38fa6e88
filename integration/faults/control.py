"""Owns a control plane that does as a test says: what proxies are told, when, and whether at all.

Called by the rig. It speaks the contract over mutual TLS as the real one does, which integration/standalone tests; here
the moment of a push must be known, and the stream must be able to go silent. Every proxy is told all.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import grpc.aio
from plait_sdk.contracts import discovery_pb2, resource_pb2

HEARTBEAT_SECONDS = 5.0
ACCOUNT = "plait-system/plait-controlplane"
"""Whose certificate it shows, below the folder of certificates."""
SERVICE = discovery_pb2.DESCRIPTOR.services_by_name["Discovery"].full_name
Context = grpc.aio.ServicerContext[discovery_pb2.WatchRequest, discovery_pb2.WatchResponse]


class Stream:
    """One proxy. `queue`: what is to be sent to it; `acked`: the generation it said to serve."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[discovery_pb2.WatchResponse] = asyncio.Queue()
        self.acked = 0


class ControlPlane:
    """Use: `start`, `push` as often as wanted, later `stop`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.streams: set[Stream] = set()
        self.opened = 0
        """Streams so far."""
        self.refused: list[str] = []
        """What proxies would not take."""
        self.speaks = asyncio.Event()
        """Cleared, streams stay open and nothing is said on them."""
        self.speaks.set()
        self._resources: dict[tuple[int, str], resource_pb2.Resource] = {}
        self._destinations: list[str] = []
        self._generation = 0
        self._nonce = 0
        self._folder = folder
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        place = self._folder / ACCOUNT
        read = {name: (place / name).read_bytes() for name in ("leaf.key", "leaf.pem", "roots.pem")}
        credentials = grpc.ssl_server_credentials(
            [(read["leaf.key"], read["leaf.pem"])], read["roots.pem"], require_client_auth=True
        )
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        method = grpc.stream_stream_rpc_method_handler(
            self._watch, discovery_pb2.WatchRequest.FromString, discovery_pb2.WatchResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": method}),))
        assert self._server.add_secure_port(self.address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Ends all streams."""
        await self._server.stop(0)

    async def push(self, resources: Iterable[resource_pb2.Resource], seconds: float = 30.0) -> None:
        """Tells all proxies what is new; returns when each that is connected serves it."""
        generation = self.put(resources)
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: all(one.acked >= generation for one in self.streams))
        assert not self.refused, self.refused

    def put(self, resources: Iterable[resource_pb2.Resource]) -> int:
        """The same without waiting; gives the generation that it makes."""
        fresh = list(resources)
        self._resources.update({(one.kind, one.name): one for one in fresh})
        self._destinations = [name for kind, name in self._resources if kind == resource_pb2.RESOURCE_KIND_SERVICE]
        self._generation += 1
        for stream in self.streams:
            self._tell(stream, fresh)
        return self._generation

    def _tell(self, stream: Stream, resources: Iterable[resource_pb2.Resource]) -> None:
        self._nonce += 1
        changes = discovery_pb2.ChangeSet(
            nonce=self._nonce, generation=self._generation, upserts=resources, known=self._destinations
        )
        stream.queue.put_nowait(discovery_pb2.WatchResponse(change_set=changes))

    async def _watch(
        self, requests: AsyncIterator[discovery_pb2.WatchRequest], context: Context
    ) -> AsyncIterator[discovery_pb2.WatchResponse]:
        stream = Stream()
        reading = asyncio.create_task(self._read(requests, stream))
        self.streams.add(stream)
        self.opened += 1
        try:
            self._tell(stream, self._resources.values())
            while not reading.done():
                try:
                    message = await asyncio.wait_for(stream.queue.get(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    beat = discovery_pb2.Heartbeat(generation=max(stream.acked, 1))
                    message = discovery_pb2.WatchResponse(heartbeat=beat)
                await self.speaks.wait()
                yield message
        finally:
            reading.cancel()
            async with self._changed:
                self.streams.discard(stream)
                self._changed.notify_all()

    async def _read(self, requests: AsyncIterator[discovery_pb2.WatchRequest], stream: Stream) -> None:
        async for request in requests:
            if request.HasField("subscribe"):
                self._tell(stream, self._resources.values())
            if request.HasField("nack"):
                self.refused.append(request.nack.reason)
            if request.HasField("ack"):
                self.refused += [f"{one.resource.name} {one.path}: {one.reason}" for one in request.ack.rejections]
                async with self._changed:
                    stream.acked = max(stream.acked, request.ack.generation)
                    self._changed.notify_all()
