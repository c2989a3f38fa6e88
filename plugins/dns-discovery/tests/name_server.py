"""A name server on loopback for tests: UDP and TCP on one port, in a thread of its own, answering what it is told to.

Used by the plugin's tests and by those of a whole mesh.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SOA = "ns.example.com. admin.example.com. 1 3600 600 86400 7"
LARGEST_DATAGRAM = 512


class NameServer:
    """Zone data by name and type. `rcode` makes it fail all, `mute` makes it say nothing."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self.rcode = dns.rcode.NOERROR
        self.mute = False
        self.asked: Counter[tuple[str, str]] = Counter()
        self.truncated = 0
        self._servers: list[socketserver.BaseServer] = []
        self.address = ""

    def put(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        """Replaces the records of a name."""
        self.zone[dns.name.from_text(name).to_text().lower(), kind] = (ttl, list(values))

    def drop(self, name: str) -> None:
        """The name does not exist any more."""
        wanted = dns.name.from_text(name).to_text().lower()
        self.zone = {key: value for key, value in self.zone.items() if key[0] != wanted}

    def __enter__(self) -> Self:
        for _ in range(50):
            udp = socketserver.ThreadingUDPServer(("127.0.0.1", 0), self._datagrams())
            try:
                tcp = _Tcp(udp.server_address, self._streams())
            except OSError:  # somebody has the port for TCP
                udp.server_close()
                continue
            break
        else:
            raise OSError("no port that is free for both")
        self._servers = [udp, tcp]
        self.address = f"127.0.0.1:{udp.server_address[1]}"
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, wire: bytes, is_datagram: bool) -> bytes | None:
        """The answer to one question."""
        if self.mute:
            return None
        question = dns.message.from_wire(wire)
        asked = question.question[0]
        name, kind = asked.name.to_text().lower(), dns.rdatatype.to_text(asked.rdtype)
        self.asked[name, kind] += 1
        response = dns.message.make_response(question)
        response.flags |= dns.flags.RA
        response.set_rcode(self.rcode)
        if self.rcode != dns.rcode.NOERROR:
            return response.to_wire()
        if (found := self.zone.get((name, kind))) is not None:
            ttl, values = found
            response.answer.append(dns.rrset.from_text_list(asked.name, ttl, "IN", kind, values))
        else:
            if not any(known == name for known, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "SOA", SOA))
        whole = response.to_wire()
        if is_datagram and len(whole) > LARGEST_DATAGRAM:
            self.truncated += 1
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()
        return whole

    def _datagrams(self) -> type[socketserver.BaseRequestHandler]:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                wire, sock = self.request
                if (said := outer.answer(wire, True)) is not None:
                    sock.sendto(said, self.client_address)

        return Handler

    def _streams(self) -> type[socketserver.BaseRequestHandler]:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, struct.error):
                    stream: socket.socket = self.request
                    length = struct.unpack("!H", stream.recv(2, socket.MSG_WAITALL))[0]
                    said = outer.answer(stream.recv(length, socket.MSG_WAITALL), False)
                    if said is not None:
                        stream.sendall(struct.pack("!H", len(said)) + said)

        return Handler


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
