"""The WebSocket server of Service chat, by the library `websockets`: says everything back, and ends as it is told.

Used by test_websocket and test_websocket_http2.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import websockets
from websockets.asyncio.server import ServerConnection, serve

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


class Chat:
    """`closed`: the code with which each conversation ended, 1006 where it broke off. `ended`: one did."""

    def __init__(self) -> None:
        self.closed: list[int | None] = []
        self.ended = asyncio.Event()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Pings of its own are left to the tests."""
        options = {"max_size": 4 * MEGABYTE, "ping_interval": None, "select_subprotocol": chosen}
        async with serve(self.talk, "127.0.0.1", port, **options):
            yield

    async def talk(self, connection: ServerConnection) -> None:
        """ "close CODE" closes with it, "split" answers in fragments, "break off" and "leave" end without a word."""
        try:
            async for message in connection:
                if isinstance(message, str) and message.startswith("close "):
                    await connection.close(int(message.removeprefix("close ")), "as you wish")
                elif message == "split":
                    await connection.send(iter(["one ", "two ", "three"]))
                elif message == "break off":
                    break_off(connection.transport)
                elif message == "leave":
                    connection.transport.close()
                else:
                    await connection.send(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.closed.append(connection.close_code)
            self.ended.set()


def break_off(transport: asyncio.Transport) -> None:
    """Ends a connection by a reset: closed alone, it would end as one that has said all."""
    opened: socket.socket = transport.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def chosen(_: ServerConnection, offered: Sequence[websockets.Subprotocol]) -> websockets.Subprotocol | None:
    return offered[0] if offered else None
