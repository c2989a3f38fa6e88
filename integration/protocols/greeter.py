"""A gRPC server by the official library: one method for each way to call and to fail. Messages are bytes.

Used by test_grpc and test_grpc_channels.
"""

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

SERVICE = "plait.test.Greeter"
LARGEST = 17 << 20
# More streams than one connection of a caller opens in these tests.
THREADS = 128
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", LARGEST),
    ("grpc.max_send_message_length", LARGEST),
]
"""Of a caller that shares its connection with no other."""
Context = grpc.ServicerContext


class Greeter:
    """One server, with `more` options. `cancelled` is set when a caller took a call back."""

    def __init__(self, port: int, *more: tuple[str, int]) -> None:
        self.port = port
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        options = [
            ("grpc.max_receive_message_length", LARGEST),
            ("grpc.max_send_message_length", LARGEST),
            # It wants to hear of the sidecar, and hears of it while nobody calls.
            ("grpc.keepalive_time_ms", 200),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            *more,
        ]
        self.server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=options)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        self.health = health.HealthServicer()
        self.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        self.health.set("out-of-order", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection((health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)
        assert self.server.add_insecure_port(f"127.0.0.1:{port}") == port
        self.server.start()

    def stop(self, grace: float = 0) -> None:
        """Says that it goes; calls under way have `grace` seconds."""
        self.server.stop(grace).wait()

    def _handlers(self) -> dict[str, Any]:
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "Explain": grpc.unary_unary_rpc_method_handler(self.explain),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "WaitStream": grpc.unary_stream_rpc_method_handler(self.wait_stream),
            "Left": grpc.unary_unary_rpc_method_handler(self.left),
            "Where": grpc.unary_unary_rpc_method_handler(lambda _, __: str(self.port).encode()),
            "Peer": grpc.unary_unary_rpc_method_handler(lambda _, context: context.peer().encode()),
            "Meet": grpc.stream_stream_rpc_method_handler(self.meet),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
        }

    def echo(self, request: bytes, context: Context) -> bytes:
        context.send_initial_metadata((("before", "head"),))
        context.set_trailing_metadata((("after", "trailer"), ("binary-bin", b"\x00\xff")))
        return request

    def count(self, request: bytes, context: Context) -> Iterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    def sum(self, requests: Iterator[bytes], context: Context) -> bytes:
        return str(sum(map(int, requests))).encode()

    def talk(self, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def meet(self, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        yield str(self.port).encode()
        yield from requests

    def explain(self, request: bytes, context: Context) -> bytes:
        why = any_pb2.Any()
        why.Pack(error_details_pb2.ErrorInfo(reason="STOCK", domain="shop.example", metadata={"left": "0"}))
        status = status_pb2.Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message="sold", details=[why])
        context.abort_with_status(rpc_status.to_status(status))

    def fail(self, request: bytes, context: Context) -> bytes:
        context.set_code(next(code for code in grpc.StatusCode if code.name.encode() == request))
        context.set_details("because: 100 % über")
        context.set_trailing_metadata((("why", "asked"),))
        return b""

    def fail_late(self, request: bytes, context: Context) -> Iterator[bytes]:
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")

    def wait(self, request: bytes, context: Context) -> bytes:
        self._wait(context)
        return b""

    def wait_stream(self, request: bytes, context: Context) -> Iterator[bytes]:
        yield b"first"
        self._wait(context)

    def _wait(self, context: Context) -> None:
        ended = threading.Event()
        if not context.add_callback(ended.set):
            ended.set()
        self.waiting.set()
        if ended.wait(20):
            self.cancelled.set()

    def left(self, request: bytes, context: Context) -> bytes:
        return str(context.time_remaining()).encode()

    def metadata(self, request: bytes, context: Context) -> bytes:
        return repr(dict(context.invocation_metadata())).encode()
