"""Owns the messages between the proxy and its worker processes: length, JSON, and descriptors beside `fork`.

Used by the zygote and by the worker, each on a socket of its own. A log line is never waited for: when the proxy does
not read, lines are dropped and counted.
"""

import array
import json
import os
import socket
import struct
from typing import Any

LENGTH = struct.Struct("<I")
MOST_DESCRIPTORS = 16
"""More than any message carries, so that a surplus is seen rather than cut off by the kernel."""

LONGEST = 4 << 20
"""Bytes of a message, by the protocol."""

BACKLOG = 64 << 10
"""Bytes of log lines that may wait for the proxy: some hundred lines."""


class Control:
    """One end of a control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting = bytearray()
        self._dropped = 0

    def fileno(self) -> int:
        """What becomes readable when a message or the end of the proxy is there."""
        return self._connection.fileno()

    def close(self) -> None:
        """Closes this process's copy."""
        self._connection.close()

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and the descriptors that came with it; blocks.

        Raises:
            EOFError: the proxy is gone.
        """
        head, descriptors = self._first()
        length = LENGTH.unpack(head)[0]
        if length > LONGEST:
            raise EOFError(f"a message of {length} bytes is none of the proxy's")
        return json.loads(self._exactly(length)), descriptors

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message that must arrive, after the lines that wait; blocks."""
        self._connection.setblocking(True)
        self._connection.sendall(bytes(self._waiting) + _encoded(message))
        self._waiting.clear()

    def log(self, plugin: str | None, level: str, text: str) -> None:
        """Sends a line of a plugin's, or keeps it until there is room; drops it when too much waits."""
        if len(self._waiting) > BACKLOG:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.log(None, "warning", f"{dropped} lines of plugins were dropped: the proxy did not read them")
        self._waiting += _encoded({"kind": "log", "plugin": plugin, "level": level, "text": text})
        self.flush()

    def flush(self) -> None:
        """Sends what waits, as far as there is room."""
        if not self._waiting:
            return
        self._connection.setblocking(False)
        try:
            sent = self._connection.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:  # the proxy is gone: the next look at the channel ends this process
            return
        finally:
            self._connection.setblocking(True)
        del self._waiting[:sent]

    def _first(self) -> tuple[bytes, list[int]]:
        """The first bytes of a message, which carry its descriptors."""
        numbers = array.array("i")
        room = socket.CMSG_SPACE(MOST_DESCRIPTORS * numbers.itemsize)
        head, ancillary, _, _ = self._connection.recvmsg(LENGTH.size, room, socket.MSG_CMSG_CLOEXEC)
        if not head:
            raise EOFError("the proxy is gone")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
        return head + self._exactly(LENGTH.size - len(head)), list(numbers)

    def _exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            piece = self._connection.recv(count - len(received))
            if not piece:
                raise EOFError("the proxy is gone")
            received += piece
        return bytes(received)


def adopt(descriptor: int) -> Control:
    """The control socket at `descriptor`, moved out of the way of a plugin that reads its standard input."""
    moved = os.dup(descriptor)
    os.set_inheritable(moved, False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor)
    os.close(null)
    return Control(socket.socket(fileno=moved))


def _encoded(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body
