"""Simulated proxies: discovery clients over mutual TLS, many in this process. Started by `at_scale` as a program.

Each does what a sidecar's client does: Hello, Subscribe, and an Ack for each change set. It keeps nothing but counts.
HTTP/2 by the library h2 on asyncio, since gRPC's own client cannot check an identity that is no host name.

    python proxies.py ADDRESS FOLDER FIRST COUNT SERVICES DESTINATIONS
prints a line of JSON each time something was acked: how many proxies have acked which generation, when, and what came.
"""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from plait_sdk.contracts import discovery_pb2
from world import NAMESPACE, pod_name, service_name

PATH = "/plait.v1.Discovery/Watch"
WINDOW = 16 * 1024 * 1024


class Counts:
    """What all proxies of this process did; told as it changes, at most every 5 ms."""

    def __init__(self) -> None:
        self.acked: dict[int, int] = {}
        self.current: dict[int, int] = {}
        self.bytes = self.messages = 0
        self._telling: asyncio.TimerHandle | None = None

    def ack(self, generation: int) -> None:
        self.acked[generation] = self.acked.get(generation, 0) + 1
        self._tell()

    def beat(self, generation: int) -> None:
        self.current[generation] = self.current.get(generation, 0) + 1
        self._tell()

    def _tell(self) -> None:
        if self._telling is None:
            # The time is that of the first change that is told here.
            at = time.monotonic()
            self._telling = asyncio.get_running_loop().call_later(0.005, self._print, at)

    def _print(self, at: float) -> None:
        self._telling = None
        last = time.monotonic()
        figures = {"first": at, "at": last, "acked": self.acked, "current": self.current}
        print(json.dumps({**figures, "bytes": self.bytes, "messages": self.messages}), flush=True)


class Proxy(asyncio.Protocol):
    """One stream."""

    def __init__(self, workload: str, destinations: list[str], counts: Counts) -> None:
        self.workload, self.destinations, self.counts = workload, destinations, counts
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.stream = 0
        self.pending = bytearray()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.h2.local_settings.initial_window_size = WINDOW
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW)
        self.stream = self.h2.get_next_available_stream_id()
        head = {":method": "POST", ":scheme": "https", ":authority": "discovery", ":path": PATH}
        more = {"te": "trailers", "content-type": "application/grpc"}
        self.h2.send_headers(self.stream, [*head.items(), *more.items()])
        names = [self.workload]
        hello = discovery_pb2.Hello(proxy=self.workload, proxy_version="simulated", protocol=1, workloads=names)
        self.say(discovery_pb2.WatchRequest(hello=hello))
        self.say(discovery_pb2.WatchRequest(subscribe=discovery_pb2.Subscribe(destinations=self.destinations)))

    def say(self, request: discovery_pb2.WatchRequest) -> None:
        body = request.SerializeToString()
        self.h2.send_data(self.stream, b"\0" + len(body).to_bytes(4) + body)
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        self.counts.bytes += len(data)
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
                self.pending += event.data
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.TrailersReceived):
                self.fail(f"the stream of {self.workload} ended: {event}")
        self.transport.write(self.h2.data_to_send())
        while len(self.pending) >= 5 and len(self.pending) >= 5 + (size := int.from_bytes(self.pending[1:5])):
            message = discovery_pb2.WatchResponse.FromString(bytes(self.pending[5 : 5 + size]))
            del self.pending[: 5 + size]
            self.takes(message)

    def takes(self, message: discovery_pb2.WatchResponse) -> None:
        self.counts.messages += 1
        if message.WhichOneof("message") == "change_set":
            change = message.change_set
            ack = discovery_pb2.Ack(nonce=change.nonce, generation=change.generation)
            self.say(discovery_pb2.WatchRequest(ack=ack))
            self.counts.ack(change.generation)
        else:
            self.counts.beat(message.heartbeat.generation)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection of {self.workload} is gone: {error}")

    def fail(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


async def run(address: str, folder: Path, numbers: range, services: int, destinations: int) -> None:
    """Connects all, then goes on until the process is ended or one of them is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(folder / "root.pem")
    context.load_cert_chain(folder / "leaf.pem")
    host, _, port = address.rpartition(":")
    counts = Counts()

    async def begin(number: int) -> Proxy:
        # Every proxy calls the first Service, and others round about its own.
        called = [0, *(((number + 1) * 7 + step) % services for step in range(destinations - 1))]
        keys = [f"{NAMESPACE}/{service_name(each)}" for each in called]
        workload = f"{NAMESPACE}/{pod_name(number % services, number // services)}"
        loop = asyncio.get_running_loop()
        _, proxy = await loop.create_connection(lambda: Proxy(workload, keys, counts), host, int(port), ssl=context)
        return proxy

    ended = []
    for start in range(numbers.start, numbers.stop, 20):
        try:
            proxies = await asyncio.gather(*(begin(number) for number in range(start, min(start + 20, numbers.stop))))
        except OSError as error:
            raise SystemExit(f"{address} takes no more than {len(ended)} connections of ours: {error}") from error
        ended += [proxy.ended for proxy in proxies]
    done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    raise SystemExit(done.pop().result())


if __name__ == "__main__":
    first, count, services, destinations = map(int, sys.argv[3:7])
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), range(first, first + count), services, destinations))
