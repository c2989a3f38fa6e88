"""WebSocket over HTTP/2 through two sidecars, to a server that has it over HTTP/1.1."""

import asyncio
from collections.abc import Callable

import h2.events
import pytest
from chat import MESSAGES, Chat
from websocket_http2 import OverHttp2
from websockets.frames import Frame, Opcode

PATIENCE_SECONDS = 20


async def in_thread(place: tuple[str, int], work: Callable[[OverHttp2], None], deflate: bool = False) -> None:
    """Runs a blocking client beside the server of the test."""

    def run() -> None:
        client = OverHttp2(place, deflate=deflate)
        try:
            assert client.answer[":status"] == "200", client.answer
            work(client)
        finally:
            client.close()

    async with asyncio.timeout(PATIENCE_SECONDS * 2):
        await asyncio.to_thread(run)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("deflate", [False, True])
async def test_over_http2_messages_come_back_whole(place: tuple[str, int], deflate: bool) -> None:
    def work(client: OverHttp2) -> None:
        assert bool(client.frames.extensions) == deflate
        for message in MESSAGES:
            kind = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
            data = message.encode() if isinstance(message, str) else message
            client.send(Frame(kind, data))
            answer = client.receive()
            assert (answer.opcode, answer.fin, bytes(answer.data)) == (kind, True, data)

    await in_thread(place, work, deflate)


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

    await in_thread(place, work)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4999])
async def test_over_http2_close_codes_pass_both_ways(place: tuple[str, int], server: Chat, code: int) -> None:
    def mine(client: OverHttp2) -> None:
        client.send(Frame(Opcode.CLOSE, code.to_bytes(2, "big")))
        answer = client.receive()
        assert (answer.opcode, bytes(answer.data)[:2]) == (Opcode.CLOSE, code.to_bytes(2, "big"))
        client.is_over()

    def theirs(client: OverHttp2) -> None:
        client.send(Frame(Opcode.TEXT, f"close {code}".encode()))
        answer = client.receive()
        assert (answer.opcode, bytes(answer.data)) == (Opcode.CLOSE, code.to_bytes(2, "big") + b"as you wish")
        client.send(answer)
        client.is_over()

    await in_thread(place, mine)
    await in_thread(place, theirs)
    await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)


@pytest.mark.usefixtures("server")
async def test_over_http2_a_server_that_ends_without_a_word_is_no_close(place: tuple[str, int]) -> None:
    def breaks(client: OverHttp2) -> None:
        client.send(Frame(Opcode.TEXT, b"break off"))
        client.is_broken()
        assert isinstance(client.broken, h2.events.StreamReset)

    def leaves(client: OverHttp2) -> None:
        client.send(Frame(Opcode.TEXT, b"leave"))
        client.is_over()
        assert client.arrived == []

    await in_thread(place, breaks)
    await in_thread(place, leaves)


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_over_http2_a_client_that_breaks_is_no_close(place: tuple[str, int], server: Chat, how: str) -> None:
    def work(client: OverHttp2) -> None:
        client.send(Frame(Opcode.TEXT, b"here"))
        assert bytes(client.receive().data) == b"here"
        getattr(client, how)()

    await in_thread(place, work)
    await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)
    assert server.closed == [1006]


@pytest.mark.usefixtures("server")
async def test_over_http2_the_subprotocol_is_agreed(place: tuple[str, int]) -> None:
    def run() -> None:
        client = OverHttp2(place, "chat.v1")
        assert (client.answer[":status"], client.answer["sec-websocket-protocol"]) == ("200", "chat.v1")
        # HTTP/2 has no such fields: they belong to the upgrade of HTTP/1.1.
        assert not {"sec-websocket-accept", "upgrade", "connection"} & set(client.answer)
        client.close()

    await asyncio.to_thread(run)
