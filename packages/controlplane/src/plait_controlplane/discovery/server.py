"""The gRPC server of discovery. Called by `app`; mutual TLS is a condition of being served at all."""

import logging

import grpc
import grpc.aio
from plait_sdk.contracts import discovery_pb2

from plait_controlplane.discovery.stream import Watch

LOG = logging.getLogger(__name__)
SERVICE = discovery_pb2.DESCRIPTOR.services_by_name["Discovery"].full_name

# A proxy that vanished without a word is noticed within ten seconds; one that pings us every five is no attacker.
OPTIONS = [
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.so_reuseport", 0),  # a second control plane on the port must fail, not share it
]
STOP_SECONDS = 0.5


class DiscoveryServer:
    """Use: `start`, later `stop`."""

    def __init__(self, watch: Watch, listen: str, credentials: grpc.ServerCredentials) -> None:
        self._listen = listen
        self._server = grpc.aio.server(options=OPTIONS)
        # Not the generated servicer: messages are serialised already when they come here.
        method = grpc.stream_stream_rpc_method_handler(watch.watch, discovery_pb2.WatchRequest.FromString, None)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": method}),))
        self._server.add_secure_port(listen, credentials)

    async def start(self) -> None:
        """Listens."""
        await self._server.start()
        LOG.info("discovery listen=%s", self._listen)

    async def stop(self) -> None:
        """Ends all streams: proxies go on with what they have and come back."""
        await self._server.stop(STOP_SECONDS)
