"""WebSocket over HTTP/1.1 by a client and a server that others wrote, through two sidecars."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets
from chat import MEGABYTE, MESSAGES, Chat, break_off
from websockets.asyncio.client import connect

PATIENCE_SECONDS = 20


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


@pytest.mark.parametrize("word", ["break off", "leave"])
async def test_a_server_that_ends_without_a_word_is_no_close(place: tuple[str, int], server: Chat, word: str) -> None:
    async with called(place) as connection:
        await connection.send(word)
        with pytest.raises(websockets.ConnectionClosedError):
            await connection.recv()
        assert connection.close_code == 1006


@pytest.mark.parametrize("abrupt", [True, False])
async def test_a_client_that_ends_without_a_word_is_no_close(
    place: tuple[str, int], server: Chat, abrupt: bool
) -> None:
    async with called(place) as connection:
        await connection.send("here")
        assert await connection.recv() == "here"
        if abrupt:
            break_off(connection.transport)
        else:
            connection.transport.close()
    await asyncio.wait_for(server.ended.wait(), PATIENCE_SECONDS)
    assert server.closed == [1006]
