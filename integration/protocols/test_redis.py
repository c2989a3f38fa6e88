"""Redis behind the mesh: many small messages, and a few large ones, in both versions of its protocol."""

import random
import subprocess
import threading
from collections.abc import Iterator

import pytest
import redis
from mesh import Mesh
from servers import folder, program, running

PATIENCE_SECONDS = 60
LARGE = 10 << 20


@pytest.fixture(scope="module")
def server(mesh: Mesh) -> Iterator[None]:
    """Redis, in memory."""
    command = [program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--save", "", "--maxmemory", "200mb"]
    with folder("redis") as place:
        port = mesh.services["redis"].processes[0]
        with running([*command, "--port", str(port), "--dir", str(place)], place, port):
            yield


@pytest.fixture(params=["redis", "redis-undeclared"])
def port(request: pytest.FixtureRequest, mesh: Mesh, server: None) -> int:
    return mesh.services[request.param].bind


@pytest.fixture(params=[2, 3])
def client(request: pytest.FixtureRequest, port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port, protocol=request.param, socket_timeout=PATIENCE_SECONDS) as found:
        yield found


def test_its_own_client_is_answered(port: int) -> None:
    def ask(*words: str, given: str | None = None) -> str:
        asked = [program("redis-cli", "redis-tools"), "-h", "127.0.0.1", "-p", str(port), *words]
        return subprocess.run(
            asked, input=given, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        ).stdout.strip()

    assert ask("PING") == "PONG"
    assert ask("-x", "SET", "given", given="x" * 100_000) == "OK"
    assert ask("GET", "given") == "x" * 100_000
    many = "".join(f"SET many-{number} {number}\r\n" for number in range(5000))
    assert "errors: 0, replies: 5000" in ask("--pipe", given=many)


def test_the_version_of_the_protocol_is_agreed(client: redis.Redis) -> None:
    client.delete("fields")
    client.hset("fields", mapping={"a": "1"})
    raw = client.execute_command("HELLO")
    said = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
    assert said[b"proto"] == int(client.get_connection_kwargs()["protocol"])
    assert client.hgetall("fields") == {b"a": b"1"}


def test_a_large_value_comes_back_whole(client: redis.Redis) -> None:
    value = random.Random(1).randbytes(LARGE)
    assert client.set("large", value)
    assert client.get("large") == value


def test_commands_in_one_go_are_answered_in_order(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(10_000):
            pipeline.set(f"key-{number % 100}", number)
            pipeline.get(f"key-{number % 100}")
        answers = pipeline.execute()
    assert answers == [given for number in range(10_000) for given in (True, str(number).encode())]


def test_what_is_published_comes_unasked(client: redis.Redis) -> None:
    with client.pubsub() as listener:
        listener.subscribe("news")
        assert listener.get_message(timeout=PATIENCE_SECONDS) == {
            "type": "subscribe", "pattern": None, "channel": b"news", "data": 1,
        }  # fmt: skip
        for number in range(100):
            assert client.publish("news", f"{number} {'x' * number * 100}") == 1
        heard = [listener.get_message(timeout=PATIENCE_SECONDS) for _ in range(100)]
    assert [one and one["data"] for one in heard] == [
        f"{number} {'x' * number * 100}".encode() for number in range(100)
    ]


def test_a_blocked_client_is_woken(client: redis.Redis) -> None:
    client.delete("work")
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(client.blpop(["work"], timeout=PATIENCE_SECONDS)))
    waiting.start()
    with redis.Redis(connection_pool=client.connection_pool) as other:
        other.rpush("work", "one")
    waiting.join(PATIENCE_SECONDS)
    assert [list(one) for one in found] == [[b"work", b"one"]]  # type: ignore[call-overload]  # the stubs know RESP2 alone


def test_a_connection_that_is_broken_off_is_seen(client: redis.Redis) -> None:
    with client.client() as one:
        one.connection.retry._retries = 0
        number = one.client_id()
        client.client_kill_filter(_id=str(number))
        with pytest.raises(redis.ConnectionError):
            one.ping()
