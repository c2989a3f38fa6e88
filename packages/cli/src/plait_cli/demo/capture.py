"""Owns a capture of the loopback interface: which TCP payloads crossed which ports. Called by the claim on encryption.

It looks at the wire itself, so nothing between two sidecars has to be trusted or changed for it; the kernel allows
that to root (CAP_NET_RAW) only.
"""

import socket
import struct
import threading
from types import TracebackType

ETH_P_ALL = 0x0003
ETHERNET_HEADER_BYTES = 14
LARGEST_FRAME_BYTES = 1 << 17
RECEIVE_BUFFER_BYTES = 32 << 20
TICK_SECONDS = 0.1


class Capture:
    """Payload bytes by the port that they came from or went to. Use as a context. Raises PermissionError."""

    def __init__(self, ports: set[int]) -> None:
        self.ports = ports
        self.payloads: dict[int, bytearray] = {port: bytearray() for port in ports}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.settimeout(TICK_SECONDS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Capture":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._ended.is_set():
            try:
                frame = self._socket.recv(LARGEST_FRAME_BYTES)
            except TimeoutError:
                continue
            found = tcp_payload(frame)
            if found is None:
                continue
            source, destination, payload = found
            for port in {source, destination} & self.ports:
                self.payloads[port] += payload


def tcp_payload(frame: bytes) -> tuple[int, int, bytes] | None:
    """Source port, destination port and payload of an Ethernet frame with TCP over IPv4; None of anything else."""
    packet = frame[ETHERNET_HEADER_BYTES:]
    if frame[12:14] != b"\x08\x00" or len(packet) < 40 or packet[9] != socket.IPPROTO_TCP:
        return None
    header = (packet[0] & 0x0F) * 4
    total = struct.unpack_from("!H", packet, 2)[0] or len(packet)  # 0 = larger than 64 KiB (segmentation offload)
    source, destination = struct.unpack_from("!HH", packet, header)
    data = header + (packet[header + 12] >> 4) * 4
    payload = packet[data:total]
    return (source, destination, payload) if payload else None
