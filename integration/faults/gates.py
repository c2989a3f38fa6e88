"""Owns the fault proxy: a gate before each sidecar, which passes bytes on until it is told to break.

Called by the rig. It stands where the network between two machines would: callers dial the gate, and a gate that is
killed looks like a machine that went away with its sidecar. Knows nothing of what it passes on.
"""

import asyncio
from dataclasses import dataclass, field

from origins import reset_when_closed

HIGH = 256 << 10
"""Bytes that wait in a gate before its sender has to."""


class Half(asyncio.Protocol):
    """One connection, coupled to another."""

    def __init__(self, gate: "Gate") -> None:
        self.gate = gate
        self.other: Half | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(HIGH)
        self.gate.halves.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)
        else:
            self.early.append(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.gate.halves.discard(self)
        if self.other and self.other.transport:
            self.other.transport.close()


class Entering(Half):
    """The side of the caller: dials on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._dial())
        self.gate.dialling.add(task)
        task.add_done_callback(self.gate.dialling.discard)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        assert self.transport is not None
        try:
            _, leaving = await loop.create_connection(lambda: Half(self.gate), "127.0.0.1", self.gate.target)
        except OSError:
            self.transport.abort()
            return
        self.other, leaving.other = leaving, self
        assert leaving.transport is not None
        for data in self.early:
            leaving.transport.write(data)
        if self.transport.is_closing():
            leaving.transport.close()


@dataclass(eq=False)
class Gate:
    """One gate: `port` is dialled, `target` is behind it."""

    port: int
    target: int
    halves: set[Half] = field(default_factory=set)
    dialling: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        """Takes connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Entering(self), "127.0.0.1", self.port, backlog=1024)

    def shut(self) -> None:
        """Takes no more connections; those that are there go on."""
        if self._server:
            self._server.close()
            self._server = None

    def kill(self) -> None:
        """Takes no more, and resets all."""
        self.shut()
        for half in list(self.halves):
            if half.transport:
                reset_when_closed(half.transport)
                half.transport.abort()
