"""Owns the processes behind the mesh: HTTP/1.1 for alpha, gRPC for beta, one port for each of their places.

Called by the rig and by compare.py. They tell back what they got and by whom, count what they get twice, and fail as a
test asks. All run in this process, in its event loop.
"""

import asyncio
import logging
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

import grpc
import grpc.aio
from aiohttp import web
from callers import LARGEST
from openloop import digest

Context = grpc.aio.ServicerContext[bytes, bytes]
QUIET = logging.getLogger("plait.test.origins")
THINK_SECONDS = 0.01
"""An answer takes as long as this, half of it on average."""


class Mood(Enum):
    """How a place answers."""

    FINE = 1
    ERROR = 2
    """500, or INTERNAL."""
    HANG = 3
    CUT = 4
    """Half of the body, then a reset. HTTP only."""


@dataclass
class Origins:
    """`ports`: of each place, "alpha-0" and so on. Use: `start`, later `stop`."""

    ports: dict[str, int]
    host: str = "127.0.0.1"
    seen: Counter[int] = field(default_factory=Counter)
    moods: dict[str, Mood] = field(default_factory=dict)
    reached: Counter[str] = field(default_factory=Counter)
    """By place."""
    broken: list[str] = field(default_factory=list)
    """Requests that arrived other than they were sent."""
    _servers: list[grpc.aio.Server] = field(default_factory=list)

    async def start(self) -> None:
        self._places = {port: place for place, port in self.ports.items()}
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._http)
        # That a caller left is no news here.
        QUIET.setLevel(logging.CRITICAL)
        self._runner = web.AppRunner(application, access_log=None, logger=QUIET, shutdown_timeout=0.1)
        await self._runner.setup()
        for place, port in self.ports.items():
            if place.startswith("alpha"):
                await web.TCPSite(self._runner, self.host, port, backlog=1024).start()
            else:
                await self._serve_grpc(place, port)

    async def stop(self) -> None:
        await self._runner.cleanup()
        for server in self._servers:
            await server.stop(0)

    async def _http(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        place = self._places[request.transport.get_extra_info("sockname")[1]]
        number = int(request.headers["x-number"])
        try:
            body = await request.read()
        except ConnectionResetError:
            return web.Response()  # to nobody: the caller left
        mood = await self._think(place, number, body, request.headers["x-digest"])
        headers = {"x-number": str(number), "x-place": place}
        if mood is Mood.ERROR:
            return web.Response(status=500, headers=headers, text="asked to fail")
        if mood is Mood.CUT:
            return await cut(request, headers, body)
        return web.Response(headers=headers, body=body)

    async def _serve_grpc(self, place: str, port: int) -> None:
        async def echo(body: bytes, context: Context) -> bytes:
            told = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
            mood = await self._think(place, int(told["x-number"]), body, told["x-digest"])
            if mood is Mood.ERROR:
                await context.abort(grpc.StatusCode.INTERNAL, "asked to fail")
            await context.send_initial_metadata((("x-number", told["x-number"]), ("x-place", place)))
            return body

        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", LARGEST)])
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plait.test.Faults", handlers),))
        assert server.add_insecure_port(f"{self.host}:{port}") == port
        await server.start()
        self._servers.append(server)

    async def _think(self, place: str, number: int, body: bytes, expected: str) -> Mood:
        self.seen[number] += 1
        self.reached[place] += 1
        if digest(body) != expected:
            self.broken.append(f"{number} at {place}: {len(body)} bytes")
        mood = self.moods.get(place, Mood.FINE)
        if mood is Mood.HANG:
            await asyncio.Event().wait()
        await asyncio.sleep(random.uniform(0, THINK_SECONDS))
        return mood


async def cut(request: web.Request, headers: dict[str, str], body: bytes) -> web.StreamResponse:
    """Promises more than it sends, and resets the connection where a reader cannot take it for an end."""
    response = web.StreamResponse(headers={**headers, "content-length": str(len(body) + 1)})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    reset_when_closed(request.transport)
    request.transport.abort()
    return response


def reset_when_closed(transport: asyncio.BaseTransport) -> None:
    """The peer of a closed connection sees a reset."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
