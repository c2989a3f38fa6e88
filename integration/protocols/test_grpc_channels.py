"""Channels of gRPC through two sidecars: how the calls of one are shared out, and what they survive."""

import collections
import queue
import socket
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from greeter import LARGEST, OPTIONS, SERVICE, Greeter
from mesh import Mesh, until

PATIENCE_SECONDS = 60
STREAMS = 100
PINGS = [
    ("grpc.keepalive_time_ms", 100),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


@pytest.fixture
def channel(mesh: Mesh, greeters: list[Greeter]) -> Iterator[grpc.Channel]:
    """A connection to the Service with two places, each in turn."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.services['twins'].bind}", OPTIONS) as found:
        yield found


def test_the_calls_of_one_connection_go_to_both_places(mesh: Mesh, channel: grpc.Channel) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Where")
    under_way = [call.future(b"", timeout=PATIENCE_SECONDS) for _ in range(200)]
    places = collections.Counter(int(one.result()) for one in under_way)
    assert set(places) == set(mesh.services["twins"].processes)
    assert min(places.values()) >= 20, places


def test_the_streams_of_one_connection_are_shared_out_and_open_at_once(channel: grpc.Channel) -> None:
    sent: list[queue.SimpleQueue[bytes | None]] = [queue.SimpleQueue() for _ in range(STREAMS)]
    call = channel.stream_stream(f"/{SERVICE}/Meet")
    streams = [call(iter(one.get, None), timeout=PATIENCE_SECONDS * 2) for one in sent]
    places = collections.Counter(next(stream) for stream in streams)
    assert min(places.values()) >= STREAMS * 0.4, places
    assert len(places) == 2
    for number, (one, stream) in enumerate(zip(sent, streams, strict=True)):
        one.put(f"number {number}".encode())
        assert next(stream) == f"number {number}".encode()
    for one, stream in zip(sent, streams, strict=True):
        one.put(None)
        assert list(stream) == []


class Caller:
    """Asks for as long as the block lasts, in several threads. `refused`: what was answered by other than a message."""

    def __init__(self, channel: grpc.Channel, method: str) -> None:
        self.call = channel.unary_unary(f"/{SERVICE}/{method}")
        self.answers: collections.Counter[bytes] = collections.Counter()
        self.refused: list[tuple[grpc.StatusCode, str]] = []
        self._over = threading.Event()
        self._asking = [threading.Thread(target=self._ask) for _ in range(8)]

    def __enter__(self) -> "Caller":
        for one in self._asking:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._asking:
            one.join(PATIENCE_SECONDS * 2)

    def hears(self, answer: bytes, what: str) -> None:
        """Waits for some more of these answers."""
        before = self.answers[answer]
        until(lambda: self.answers[answer] > before + 20, what)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[self.call(b"", timeout=PATIENCE_SECONDS)] += 1
            except grpc.RpcError as error:
                self.refused.append((error.code(), error.details() or ""))


def test_no_call_is_lost_when_a_server_ends_its_connections(mesh: Mesh) -> None:
    """By GOAWAY, each after a short life."""
    service = mesh.services["greeter-one"]
    life = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", PATIENCE_SECONDS * 1000)]
    server = Greeter(service.processes[0], *life)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{service.bind}", OPTIONS) as channel:
            with Caller(channel, "Peer") as caller:
                until(lambda: len(caller.answers) >= 20, "the server saw 20 connections")
            assert caller.refused == []
    finally:
        server.stop()


def test_a_server_is_restarted_under_load(channel: grpc.Channel, greeters: list[Greeter]) -> None:
    with Caller(channel, "Where") as caller:
        for number in (0, 1, 0, 1):
            before, other = greeters[number], greeters[1 - number]
            before.stop(grace=PATIENCE_SECONDS)
            caller.hears(str(other.port).encode(), "the other place serves")
            greeters[number] = Greeter(before.port)
            caller.hears(str(before.port).encode(), "it is back")
    # What reaches a server of this library between its stop and its GOAWAY is refused by the server in these words.
    assert set(caller.refused) <= {(grpc.StatusCode.CANCELLED, "CANCELLED")}
    assert len(caller.refused) <= 4 * 8, "those under way at one of four stops"


def test_a_silent_channel_is_kept_by_pings(mesh: Mesh, greeters: list[Greeter]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{mesh.services['twins'].bind}", [*OPTIONS, *PINGS]) as channel:
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append, try_to_connect=True)
        grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
        stream = channel.unary_stream(f"/{SERVICE}/WaitStream")(b"", timeout=PATIENCE_SECONDS)
        assert next(stream) == b"first"
        # Some pings of either end; a sidecar that took them for a flood would have ended the connection.
        time.sleep(1.5)
        assert channel.unary_unary(f"/{SERVICE}/Echo")(b"still", timeout=PATIENCE_SECONDS) == b"still"
        assert stream.is_active()
        stream.cancel()
        ready = states.index(grpc.ChannelConnectivity.READY)
        assert states[ready:] == [grpc.ChannelConnectivity.READY]


def test_the_same_channel_sends_pings() -> None:
    """What shows that the test above can fail."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        grpc.insecure_channel(f"127.0.0.1:{listener.getsockname()[1]}", [*OPTIONS, *PINGS]) as channel,
    ):
        channel.subscribe(lambda _: None, try_to_connect=True)
        with listener.accept()[0] as server:
            server.settimeout(PATIENCE_SECONDS)
            server.sendall(b"\0\0\0\x04\0\0\0\0\0")
            heard = b""
            while b"\0\0\x08\x06\0\0\0\0\0" not in heard:
                heard += server.recv(1 << 16)


@pytest.mark.usefixtures("greeters")
def test_a_message_that_is_too_large_for_one_of_the_two(mesh: Mesh) -> None:
    free = [option for option in OPTIONS if "max" not in option[0]]
    for limits, size in (
        ([("grpc.max_send_message_length", -1)], LARGEST + 1),
        ([("grpc.max_receive_message_length", 1000)], 1001),
    ):
        with grpc.insecure_channel(f"127.0.0.1:{mesh.services['twins'].bind}", [*free, *limits]) as channel:
            echo = channel.unary_unary(f"/{SERVICE}/Echo")
            with pytest.raises(grpc.RpcError) as failed:
                echo(b"x" * size, timeout=PATIENCE_SECONDS)
            assert (failed.value.code(), "larger than max" in failed.value.details()) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                True,
            )
            assert echo(b"small", timeout=PATIENCE_SECONDS) == b"small"
