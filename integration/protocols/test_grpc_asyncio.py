"""gRPC by the asyncio half of its official library, caller and server, through two sidecars."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from greeter import OPTIONS, SERVICE
from mesh import Mesh

PATIENCE_SECONDS = 60
Context = grpc.aio.ServicerContext


class Server:
    """Methods as coroutines. `cancelled` is set when a caller took a call back."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
                "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            },
        )

    async def echo(self, request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("left", str(context.time_remaining())), ("binary-bin", b"\x00\xff")))
        return request

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def sum(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return str(sum([int(request) async for request in requests])).encode()

    async def talk(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    async def fail(self, request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "again, please", (("why", "asked"),))
        return b""

    async def wait(self, request: bytes, context: Context) -> bytes:
        self.waiting.set()
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""


@pytest_asyncio.fixture
async def server(mesh: Mesh) -> AsyncIterator[Server]:
    made, served = grpc.aio.server(), Server()
    made.add_generic_rpc_handlers((served.handlers(),))
    made.add_insecure_port(f"127.0.0.1:{mesh.services['greeter-one'].processes[0]}")
    await made.start()
    yield served
    await made.stop(0)


@pytest_asyncio.fixture
async def channel(mesh: Mesh, server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.services['greeter-one'].bind}", OPTIONS) as found:
        yield found


async def test_calls_of_every_kind(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Echo")(b"x", timeout=7)
    assert await call == b"x"
    trailers = dict(await call.trailing_metadata())
    assert 0 < float(trailers["left"]) <= 7.02
    assert trailers["binary-bin"] == b"\x00\xff"
    answers = channel.unary_stream(f"/{SERVICE}/Count")(b"100", timeout=PATIENCE_SECONDS)
    assert [int(answer) async for answer in answers] == list(range(100))
    numbers = (str(number).encode() for number in range(100))
    assert int(await channel.stream_unary(f"/{SERVICE}/Sum")(numbers, timeout=PATIENCE_SECONDS)) == sum(range(100))
    talk = channel.stream_stream(f"/{SERVICE}/Talk")(timeout=PATIENCE_SECONDS)
    for word in (b"one", b"", b"three"):
        await talk.write(word)
        assert await talk.read() == word.upper()
    await talk.done_writing()
    assert await talk.read() is grpc.aio.EOF
    assert await talk.code() is grpc.StatusCode.OK


async def test_a_status_arrives(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(f"/{SERVICE}/Fail")(b"", timeout=PATIENCE_SECONDS)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.ABORTED, "again, please")
    assert dict(failed.value.trailing_metadata())["why"] == "asked"


async def test_a_server_learns_of_a_cancelled_call(channel: grpc.aio.Channel, server: Server) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Wait")(b"", timeout=PATIENCE_SECONDS)
    await asyncio.wait_for(server.waiting.wait(), PATIENCE_SECONDS)
    assert call.cancel()
    await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_a_deadline_passes_on_both_sides(channel: grpc.aio.Channel, server: Server) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(f"/{SERVICE}/Wait")(b"", timeout=0.3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if server.waiting.is_set():
        await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_many_calls_at_once_keep_apart(channel: grpc.aio.Channel) -> None:
    echo = channel.unary_unary(f"/{SERVICE}/Echo")
    messages = [f"message {number} ".encode() * (number * 37 % 2000) for number in range(200)]
    answers = await asyncio.gather(*(echo(message, timeout=PATIENCE_SECONDS) for message in messages))
    assert answers == messages
