"""One way to one backend: sends the bytes of a case through it and says what came of them. Called by the tests."""

import re
import socket
from dataclasses import dataclass

from backends import Backend, Message

# An answer takes milliseconds. This only decides when what waits for more bytes is told that there are none.
SILENCE_SECONDS = 0.5
PATIENCE_SECONDS = 20.0

STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)
READ = re.compile(rb"^x-read: (.*)\r$", re.MULTILINE)


@dataclass(frozen=True)
class Seen:
    """What one connection brought about: answers to the caller, messages at the backend, in order.

    `cut`: the caller ended it, as planned or because the proxy waited for more.
    """

    statuses: list[int]
    read: list[str]
    messages: list[Message]
    cut: bool


@dataclass
class Lane:
    """`way`: "hop" for one sidecar and plaintext, "pair" for two with mutual TLS between them."""

    way: str
    port: int
    backend: Backend

    def __str__(self) -> str:
        return f"{self.backend.name} by {self.way}"

    def send(self, data: bytes, leaves: bool = False) -> Seen:
        """Sends all and reads until the proxy closes. Then one more request shows that nothing is left behind it.

        `leaves`: the caller says at once that it has nothing more.
        """
        before = len(self.backend.messages)
        answer, cut = self._exchange(data, leaves)
        after, _ = self._exchange(b"GET /after HTTP/1.1\r\nhost: after\r\nconnection: close\r\n\r\n")
        assert READ.findall(after) == [b"GET /after ()"], f"{self}: after the case: {after!r}"
        messages = self.backend.messages[before:]
        assert messages[-1] == Message("GET", "/after", b""), f"{self}: after the case: {messages}"
        statuses = [int(status) for status in STATUS.findall(answer)]
        return Seen(statuses, [read.decode() for read in READ.findall(answer)], messages[:-1], cut)

    def _exchange(self, data: bytes, leaves: bool = False) -> tuple[bytes, bool]:
        answer, cut = b"", False
        with socket.create_connection(("127.0.0.1", self.port), timeout=SILENCE_SECONDS) as connection:
            try:
                connection.sendall(data)
                while True:
                    if leaves and not cut:
                        cut = True
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(PATIENCE_SECONDS)
                    try:
                        piece = connection.recv(65536)
                    except TimeoutError:
                        assert not cut, f"{self}: neither an answer nor an end"
                        leaves = True
                        continue
                    if not piece:
                        break
                    answer += piece
            except (ConnectionResetError, BrokenPipeError):
                pass  # what was sent behind a refusal was not read
        return answer, cut
