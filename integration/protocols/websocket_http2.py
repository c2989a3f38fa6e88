"""A client of WebSocket over HTTP/2 (RFC 8441), which no library is: `h2` has the stream, `websockets` the frames.

Used by test_websocket_http2.
"""

import socket
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.headers import build_extension, parse_extension
from websockets.protocol import CLIENT, Protocol, State

PATIENCE_SECONDS = 20
MOST_BYTES = 4 << 20


class OverHttp2:
    """A client on one stream of HTTP/2. Blocking; each wait ends with PATIENCE_SECONDS."""

    def __init__(self, place: tuple[str, int], protocol: str | None = None, deflate: bool = False) -> None:
        self.socket = socket.create_connection(place, PATIENCE_SECONDS)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http.initiate_connection()
        self.frames = Protocol(CLIENT, state=State.OPEN, max_size=MOST_BYTES)
        self.answer: dict[str, str] = {}
        self.arrived: list[Frame] = []
        self.ended = False
        self.broken: h2.events.Event | None = None
        self._until(lambda: self.http.remote_settings.enable_connect_protocol == 1)
        head = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/room?a=b"}
        head |= {":authority": "chat", "sec-websocket-version": "13"}
        if protocol:
            head["sec-websocket-protocol"] = protocol
        packing = ClientPerMessageDeflateFactory()
        if deflate:
            head["sec-websocket-extensions"] = build_extension([(packing.name, packing.get_request_params())])
        self.http.send_headers(1, list(head.items()))
        self._until(lambda: self.answer)
        for _, parameters in parse_extension(self.answer.get("sec-websocket-extensions", "")) if deflate else []:
            self.frames.extensions = [packing.process_response_params(parameters, [])]

    def send(self, *frames: Frame) -> None:
        """Sends frames as a client does, masked."""
        for frame in frames:
            left = memoryview(frame.serialize(mask=True, extensions=self.frames.extensions))
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

    def is_broken(self) -> None:
        self._until(lambda: self.broken)

    def reset(self) -> None:
        """Ends the stream as one does that broke."""
        self.http.reset_stream(1)
        self._write()

    def close(self) -> None:
        self.socket.close()

    def _write(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def _until(self, condition: Callable[[], object]) -> None:
        while True:
            self._write()
            if condition():
                return
            assert self.broken is None, f"it broke: {self.broken}"
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
                self.broken = event
