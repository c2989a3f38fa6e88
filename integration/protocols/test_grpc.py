"""gRPC by its official library, through two sidecars: a caller sees what the server did, or what the mesh says."""

import ast
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from greeter import OPTIONS, SERVICE, Greeter
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from mesh import Mesh, until

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module", params=["bind", "name"])
def channel(request: pytest.FixtureRequest, mesh: Mesh, greeters: list[Greeter]) -> Iterator[grpc.Channel]:
    """By a local port for the Service, and by its name at the port for all calls."""
    service = mesh.services["greeter"]
    if request.param == "bind":
        place, options = service.bind, OPTIONS
    else:
        place, options = mesh.outbound, [*OPTIONS, ("grpc.default_authority", service.authority)]
    with grpc.insecure_channel(f"127.0.0.1:{place}", options) as found:
        yield found


def unary(channel: grpc.Channel, method: str, request: bytes = b"", timeout: float = PATIENCE_SECONDS) -> bytes:
    answer: bytes = channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=timeout)
    return answer


@pytest.mark.parametrize("size", [0, 1, 100, 16 << 10, 1 << 20, 16 << 20])
def test_a_message_comes_back_whole(channel: grpc.Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    assert unary(channel, "Echo", message[:size]) == message[:size]


def test_metadata_passes_before_and_after(channel: grpc.Channel) -> None:
    sent = (("asked", "with this"), ("key-bin", b"\x00\x01\xfe"))
    call = channel.unary_unary(f"/{SERVICE}/Metadata")
    seen = ast.literal_eval(call(b"", metadata=sent, timeout=PATIENCE_SECONDS).decode())
    assert {key: seen.get(key) for key, _ in sent} == dict(sent)
    assert not [key for key in seen if key.startswith("plait-")]
    _, call = channel.unary_unary(f"/{SERVICE}/Echo").with_call(b"x", timeout=PATIENCE_SECONDS)
    assert dict(call.initial_metadata())["before"] == "head"
    trailers = dict(call.trailing_metadata())
    assert (trailers["after"], trailers["binary-bin"]) == ("trailer", b"\x00\xff")


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_server_streams(channel: grpc.Channel, count: int) -> None:
    answers = channel.unary_stream(f"/{SERVICE}/Count")(str(count).encode(), timeout=PATIENCE_SECONDS)
    assert [int(answer) for answer in answers] == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_client_streams(channel: grpc.Channel, count: int) -> None:
    requests = (str(number).encode() for number in range(count))
    call = channel.stream_unary(f"/{SERVICE}/Sum")
    assert int(call(requests, timeout=PATIENCE_SECONDS)) == sum(range(count))


def test_both_stream_in_turn(channel: grpc.Channel) -> None:
    answered = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for word in (b"one", b"two", b"three"):
            # Each waits for the answer to the one before it: nothing may be held back.
            assert answered.acquire(timeout=PATIENCE_SECONDS)
            yield word

    answers = []
    for answer in channel.stream_stream(f"/{SERVICE}/Talk")(requests(), timeout=PATIENCE_SECONDS):
        answers.append(answer)
        answered.release()
    assert answers == [b"ONE", b"TWO", b"THREE"]


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_arrives(channel: grpc.Channel, code: grpc.StatusCode) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Fail").future(code.name.encode(), timeout=PATIENCE_SECONDS)
    # Its server has no words for success.
    assert (call.code(), call.details()) == (code, "" if code is grpc.StatusCode.OK else "because: 100 % über")
    assert dict(call.trailing_metadata())["why"] == "asked"


def test_a_status_with_its_details_arrives(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, "Explain")
    status = rpc_status.from_call(failed.value)
    assert (failed.value.code(), status.message) == (grpc.StatusCode.FAILED_PRECONDITION, "sold")
    why = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(why)
    assert (why.reason, why.domain, dict(why.metadata)) == ("STOCK", "shop.example", {"left": "0"})


def test_a_status_comes_after_messages(channel: grpc.Channel) -> None:
    answers = channel.unary_stream(f"/{SERVICE}/FailLate")(b"", timeout=PATIENCE_SECONDS)
    assert next(answers) == b"first"
    with pytest.raises(grpc.RpcError) as failed:
        next(answers)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.DATA_LOSS, "the rest is gone")


def test_a_method_that_is_not_there(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, "Nothing")
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["Wait", "WaitStream"])
def test_a_server_learns_of_a_cancelled_call(channel: grpc.Channel, greeters: list[Greeter], method: str) -> None:
    for greeter in greeters:
        greeter.waiting.clear()
        greeter.cancelled.clear()
    make = channel.unary_unary if method == "Wait" else channel.unary_stream
    call = make(f"/{SERVICE}/{method}")
    under_way = call.future(b"", timeout=60) if method == "Wait" else call(b"", timeout=60)
    until(lambda: any(greeter.waiting.is_set() for greeter in greeters), "the call reached its server")
    under_way.cancel()
    until(lambda: any(greeter.cancelled.is_set() for greeter in greeters), "the server learnt of it", 5)


def test_a_deadline_is_told_and_kept(channel: grpc.Channel, greeters: list[Greeter]) -> None:
    # The library rounds up what it tells, and again what it was told: by 10 ms.
    assert 0 < float(unary(channel, "Left", timeout=7)) <= 7.02
    for greeter in greeters:
        greeter.cancelled.clear()
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, "Wait", timeout=0.3)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5
    until(lambda: any(greeter.cancelled.is_set() for greeter in greeters), "the server stops too", 5)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_pass(channel: grpc.Channel, compression: grpc.Compression) -> None:
    message = b"compress me " * 100_000
    call = channel.unary_unary(f"/{SERVICE}/Echo")
    assert call(message, timeout=PATIENCE_SECONDS, compression=compression) == message
    requests = [message, b"", b"short"]
    stream = channel.stream_stream(f"/{SERVICE}/Talk")
    answers = list(stream(iter(requests), timeout=PATIENCE_SECONDS, compression=compression))
    assert answers == [request.upper() for request in requests]


def test_health_is_asked_and_watched(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    for name, expected in ((SERVICE, serving), ("out-of-order", not_serving)):
        request = health_pb2.HealthCheckRequest(service=name)
        assert stub.Check(request, timeout=PATIENCE_SECONDS).status == expected
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_SECONDS)
    assert next(watch).status == serving
    watch.cancel()


def test_reflection_lists_services(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = list(stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_SECONDS))
    assert "grpc.health.v1.Health" in [service.name for service in answer.list_services_response.service]


def test_calls_side_by_side_keep_apart(channel: grpc.Channel) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Echo")
    messages = [f"message {number} ".encode() * (number * 37 % 5000 + 1) for number in range(200)]
    under_way = [call.future(message, timeout=PATIENCE_SECONDS) for message in messages]
    assert [one.result() for one in under_way] == messages


@pytest.mark.parametrize(
    ("service", "code", "words"),
    [
        ("locked", grpc.StatusCode.PERMISSION_DENIED, "policy_denied"),
        ("empty", grpc.StatusCode.UNAVAILABLE, "upstream_unreachable"),
        ("nowhere", grpc.StatusCode.UNAVAILABLE, "discovery_unavailable"),
    ],
)
def test_what_the_mesh_refuses_is_a_status_with_its_reason(
    mesh: Mesh, service: str, code: grpc.StatusCode, words: str
) -> None:
    port = mesh.services[service].port if service in mesh.services else 1
    options = [*OPTIONS, ("grpc.default_authority", f"{service}:{port}"), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{mesh.outbound}", options) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            unary(channel, "Echo")
        assert failed.value.code() == code
        assert words in (failed.value.details() or "")
        if service == "locked":
            assert "AuthorizationPolicy bench/nobody" in (failed.value.details() or "")
