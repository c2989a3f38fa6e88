"""WebSocket by a client and a server that others wrote, through two sidecars: over HTTP/1.1, and over HTTP/2.

HTTP/2 carries it by extended CONNECT (RFC 8441). No library speaks that, so that its client here is `h2` for the stream
and the frames of `websockets` on it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest
import pytest_asyncio
import websockets
from mesh import Mesh
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, Protocol, State

PATIENCE_SECONDS = 20
MEGABYTE = 1 << 20
MESSAGES = [
    "",
    "text: über",
    b"",
    b"\x00\xffbinary",
    "x" * 125,
    "x" * 126,
    b"y" * 65_535,
    b"y" * 65_536,
    b"z" * MEGABYTE,
]


async def chat(connection: ServerConnection) -> None:
    """Says everything back; "close CODE" closes with the code, "split" answers in three fragments."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            await connection.close(int(message.removeprefix("close ")), "as you wish")
        elif message == "split":
            await connection.send(iter(["one ", "two ", "three"]))
        else:
            await connection.send(message)


def chosen(_: ServerConnection, offered: Sequence[websockets.Subprotocol]) -> websockets.Subprotocol | None:
    return offered[0] if offered else None


@pytest_asyncio.fixture
async def server(mesh: Mesh) -> AsyncIterator[None]:
    """The server of Service chat, with pings of its own left to the tests."""
    port = mesh.services["chat"].processes[0]
    async with serve(chat, "127.0.0.1", port, max_size=4 * MEGABYTE, ping_interval=None, select_subprotocol=chosen):
        yield


@pytest.fixture(params=["bind", "name"])
def place(request: pytest.FixtureRequest, mesh: Mesh) -> tuple[str, int]:
    """By a local port for the Service, and by its name at the port for all calls."""
    return ("127.0.0.1", mesh.services["chat"].bind if request.param == "bind" else mesh.outbound)


@asynccontextmanager
async def called(place: tuple[str, int], compression: str | None = None) -> AsyncIterator[websockets.ClientConnection]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        options = {"max_size": 4 * MEGABYTE, "ping_interval": None, "compression": compression}
        async with connect("ws://chat/room?a=b", host=place[0], port=place[1], proxy=None, **options) as found:
            yield found


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_messages_come_back_whole(place: tuple[str, int], compression: str | None) -> None:
    async with called(place, compression) as connection:
        for message in MESSAGES:
            await connection.send(message)
            assert await connection.recv() == message


@pytest.mark.usefixtures("server")
async def test_fragments_stay_fragments(place: tuple[str, int]) -> None:
    async with called(place) as connection:
        await connection.send(iter([b"one ", b"", b"two"]))
        assert await connection.recv() == b"one two"
        await connection.send("split")
        assert [piece async for piece in connection.recv_streaming()] == ["one ", "two ", "three", ""]


@pytest.mark.usefixtures("server")
async def test_pings_are_answered(place: tuple[str, int]) -> None:
    async with called(place) as connection:
        for payload in (b"", b"are you there", b"x" * 125):
            assert await (await connection.ping(payload)) >= 0


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
async def test_close_codes_pass_both_ways(place: tuple[str, int], code: int) -> None:
    async with called(place) as connection:
        await connection.send(f"close {code}")
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        assert (connection.close_code, connection.close_reason) == (code, "as you wish")
    async with called(place) as connection:
        await connection.close(code, "mine")
        assert connection.close_code == code, "the server says it back"


@pytest.mark.usefixtures("server")
async def test_many_at_once_keep_apart(place: tuple[str, int]) -> None:
    async def talk(number: int) -> None:
        async with called(place) as connection:
            for turn in range(20):
                await connection.send(f"{number} {turn}")
                assert await connection.recv() == f"{number} {turn}"

    await asyncio.gather(*(talk(number) for number in range(30)))


class OverHttp2:
    """A client on one stream of HTTP/2. Blocking; each wait ends with PATIENCE_SECONDS."""

    def __init__(self, place: tuple[str, int], protocol: str | None = None) -> None:
        self.socket = socket.create_connection(place, PATIENCE_SECONDS)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http.initiate_connection()
        self.frames = Protocol(CLIENT, state=State.OPEN, max_size=4 * MEGABYTE)
        self.answer: dict[str, str] = {}
        self.arrived: list[Frame] = []
        self.ended = False
        self._until(lambda: self.http.remote_settings.enable_connect_protocol == 1)
        head = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/room?a=b"}
        head |= {":authority": "chat", "sec-websocket-version": "13"}
        if protocol:
            head["sec-websocket-protocol"] = protocol
        self.http.send_headers(1, list(head.items()))
        self._until(lambda: self.answer)

    def send(self, *frames: Frame) -> None:
        """Sends frames as a client does, masked."""
        for frame in frames:
            left = memoryview(frame.serialize(mask=True))
            while left:
                self._until(lambda: self.http.local_flow_control_window(1) > 0)
                room = min(self.http.local_flow_control_window(1), self.http.max_outbound_frame_size)
                self.http.send_data(1, bytes(left[:room]))
                left = left[room:]
        self._write()

    def receive(self) -> Frame:
        """The next frame of the server."""
        self._until(lambda: self.arrived)
        return self.arrived.pop(0)

    def is_over(self) -> None:
        self._until(lambda: self.ended)

    def close(self) -> None:
        self.socket.close()

    def _write(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def _until(self, condition: Callable[[], object]) -> None:
        while True:
            self._write()
            if condition():
                return
            data = self.socket.recv(1 << 16)
            assert data, "the connection ended"
            for event in self.http.receive_data(data):
                self._take(event)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(headers=headers):
                self.answer = {key.decode(): value.decode() for key, value in headers or []}
            case h2.events.DataReceived(data=data, flow_controlled_length=length):
                self.frames.receive_data(data or b"")
                self.arrived += [frame for frame in self.frames.events_received() if isinstance(frame, Frame)]
                self.http.acknowledge_received_data(length or 0, 1)
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                raise AssertionError(f"it broke: {event}")


async def in_thread(place: tuple[str, int], work: Callable[[OverHttp2], None]) -> None:
    """Runs a blocking client beside the server of the test."""

    def run() -> None:
        client = OverHttp2(place)
        try:
            assert client.answer[":status"] == "200", client.answer
            work(client)
        finally:
            client.close()

    async with asyncio.timeout(PATIENCE_SECONDS * 2):
        await asyncio.to_thread(run)


@pytest.mark.usefixtures("server")
async def test_over_http2_messages_come_back_whole(place: tuple[str, int]) -> None:
    def work(client: OverHttp2) -> None:
        for message in MESSAGES:
            kind = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
            data = message.encode() if isinstance(message, str) else message
            client.send(Frame(kind, data))
            answer = client.receive()
            assert (answer.opcode, answer.fin, bytes(answer.data)) == (kind, True, data)

    await in_thread(place, work)


@pytest.mark.usefixtures("server")
async def test_over_http2_fragments_pings_and_a_close_code(place: tuple[str, int]) -> None:
    def work(client: OverHttp2) -> None:
        client.send(Frame(Opcode.TEXT, b"sp", fin=False), Frame(Opcode.CONT, b"lit"))
        pieces = [client.receive() for _ in range(4)]
        assert [bytes(piece.data) for piece in pieces] == [b"one ", b"two ", b"three", b""]
        assert [piece.fin for piece in pieces] == [False, False, False, True]
        client.send(Frame(Opcode.PING, b"are you there"))
        answer = client.receive()
        assert (answer.opcode, bytes(answer.data)) == (Opcode.PONG, b"are you there")
        client.send(Frame(Opcode.CLOSE, CloseCode.GOING_AWAY.to_bytes(2, "big")))
        answer = client.receive()
        assert (answer.opcode, bytes(answer.data)[:2]) == (Opcode.CLOSE, CloseCode.GOING_AWAY.to_bytes(2, "big"))
        client.is_over()

    await in_thread(place, work)


@pytest.mark.usefixtures("server")
async def test_over_http2_the_subprotocol_is_agreed(place: tuple[str, int]) -> None:
    def run() -> None:
        client = OverHttp2(place, "chat.v1")
        assert (client.answer[":status"], client.answer["sec-websocket-protocol"]) == ("200", "chat.v1")
        # HTTP/2 has no such fields: they belong to the upgrade of HTTP/1.1.
        assert not {"sec-websocket-accept", "upgrade", "connection"} & set(client.answer)
        client.close()

    await asyncio.to_thread(run)
