"""Limits on a real Redis: who shares one, what is told, what workers count together, and a store that is away."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plait_sdk as plait
import pytest
import redis
from plait_ratelimit import RateLimit
from plait_ratelimit.plugin import key_of
from plait_sdk.testing import Failure, Harness

DEADLINE_SECONDS = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this module's own, on a Unix socket."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    socket = tmp_path_factory.mktemp("redis") / "s"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            answers(socket)
            yield f"redis+unix://{socket}"
        finally:
            server.terminate()


def answers(socket: Path) -> None:
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), DEADLINE_SECONDS * 10)
    errors = [redis.ConnectionError, FileNotFoundError]
    with redis.Redis(unix_socket_path=str(socket), retry=retry, retry_on_error=errors) as client:
        assert client.ping()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Each test counts by itself."""
    return request.node.name


def harness(store: str, prefix: str, *limits: dict[str, Any]) -> Harness:
    named = [{"name": f"limit-{number}", "per": "hour", **limit} for number, limit in enumerate(limits)]
    return Harness(RateLimit, config={"store": store, "prefix": prefix, "limits": named, "timeout_seconds": 5})


def statuses(harness: Harness, count: int, **request: Any) -> list[int]:
    return [harness.request(**request).status for _ in range(count)]


def test_so_many_pass_and_the_next_is_told_when_to_come_again(store: str, prefix: str) -> None:
    with harness(store, prefix, {"requests": 3}) as limited:
        assert statuses(limited, 5) == [200, 200, 200, 429, 429]
        refused = limited.request()
    assert 1 <= int(refused.response.headers["retry-after"]) <= 3600
    assert refused.response.headers["ratelimit-policy"] == '"limit-0";q=3;w=3600'
    assert b"over the limit limit-0: 3 requests a hour" in refused.response.body


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ({"key": "identity"}, {"identity": "spiffe://d/ns/a/sa/x"}, {"identity": "spiffe://d/ns/a/sa/y"}),
        ({"key": "namespace"}, {"identity": "spiffe://d/ns/a/sa/x"}, {"identity": "spiffe://d/ns/b/sa/x"}),
        ({"key": "header", "of": "x-user"}, {"headers": {"X-User": "ada"}}, {"headers": {"x-user": "bob"}}),
        ({"key": "header", "of": "x-user"}, {}, {"headers": {"x-user": "ada"}}),
        ({"key": "header", "of": "x-user"}, {"headers": {"x-user": "ä" * 500}}, {"headers": {"x-user": "ä" * 501}}),
    ],
)
def test_callers_that_a_key_tells_apart_count_apart(
    store: str, prefix: str, key: dict[str, str], one: dict[str, Any], other: dict[str, Any]
) -> None:
    with harness(store, prefix, {"requests": 1, **key}) as limited:
        assert statuses(limited, 2, **one) == [200, 429]
        assert statuses(limited, 2, **other) == [200, 429]


def test_all_share_what_is_for_all(store: str, prefix: str) -> None:
    with harness(store, prefix, {"requests": 2, "key": "all"}) as limited:
        seen = [limited.request(identity=f"spiffe://d/ns/a/sa/{name}").status for name in "abc"]
    assert seen == [200, 200, 429]


def test_workers_count_together(store: str, prefix: str) -> None:
    with harness(store, prefix, {"requests": 4}) as one, harness(store, prefix, {"requests": 4}) as other:
        assert sorted(statuses(one, 3) + statuses(other, 3)) == [200] * 4 + [429] * 2


def test_a_limit_is_for_its_paths(store: str, prefix: str) -> None:
    with harness(store, prefix, {"requests": 1, "path": "/search"}) as limited:
        assert statuses(limited, 2, target="/search/all?q=1") == [200, 429]
        assert statuses(limited, 3, target="/searches") == [200, 200, 200]


def test_the_first_limit_that_is_used_up_refuses(store: str, prefix: str) -> None:
    with harness(store, prefix, {"requests": 100}, {"requests": 1, "path": "/dear"}) as limited:
        assert statuses(limited, 2, target="/dear") == [200, 429]
        assert limited.request(target="/cheap").status == 200


def test_a_store_that_is_away_is_an_error_that_the_policy_decides(tmp_path: Path, prefix: str) -> None:
    with harness(f"redis+unix://{tmp_path}/nobody", prefix, {"requests": 1}) as limited:
        verdict = limited.request().verdict
    assert isinstance(verdict, Failure)
    assert "nobody" in verdict.text


def test_a_key_of_the_store_is_short_and_plain() -> None:
    assert key_of("spiffe://d/ns/a/sa/x") == "spiffe://d/ns/a/sa/x"
    assert len(key_of("x" * 10_000)) == len(key_of("a\nb")) == 64


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"store": "http://x"}, "store"),
        ({"limits": []}, "limits"),
        ({"limits": [{"name": "a", "requests": 0}]}, "requests"),
        ({"limits": [{"name": "a", "requests": 1, "key": "header"}]}, "`of` names"),
        ({"limits": [{"name": "a", "requests": 1, "of": "x"}]}, "`of` names"),
        ({"limits": [{"name": "a", "requests": 1, "per": "year"}]}, "per"),
    ],
)
def test_a_wrong_configuration_is_refused(change: dict[str, Any], told: str) -> None:
    config = {"store": "redis://localhost", "limits": [{"name": "a", "requests": 1}], **change}
    with pytest.raises(plait.ConfigError, match=told):
        Harness(RateLimit, config=config)
