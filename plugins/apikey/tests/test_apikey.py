"""Who passes with which key, what the backend gets, and what is told to the others."""

import plait_sdk as plait
import pytest
from plait_apikey import ApiKey
from plait_apikey.keys import digest, make
from plait_sdk.testing import Harness

READER, WRITER, OLD = "plait_reader", "plait_writer", "plait_old"
LATER = "2999-01-01T00:00:00Z"
CONFIG = {
    "keys": [
        {"name": "reader", "sha256": digest(READER), "scopes": ["orders:read"]},
        {"name": "writer", "sha256": digest(WRITER), "scopes": ["orders:read", "orders:write"], "expires": LATER},
        {"name": "old", "sha256": digest(OLD), "expires": "2001-01-01T00:00:00Z"},
    ],
    "rules": [
        {"path": "/orders", "methods": ["GET"], "scopes": ["orders:read"]},
        {"path": "/orders", "scopes": ["orders:write"]},
        {"path": "/admin/", "scopes": ["admin"]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/orders", READER, 200),
        ("GET", "/orders/7?x=1", READER, 200),
        ("POST", "/orders", READER, 403),
        ("POST", "/orders", WRITER, 200),
        ("GET", "/ordersheet", READER, 200),  # a prefix ends at a segment
        ("GET", "/anything", READER, 200),  # no rule: a key is enough
        ("GET", "/admin", WRITER, 403),
        ("GET", "/admin/users", WRITER, 403),
        ("GET", "/orders", OLD, 401),
        ("GET", "/orders", "plait_guess", 401),
        ("GET", "/orders", "", 401),
        ("GET", "/orders", digest(READER), 401),  # the digest opens nothing
        ("GET", "/orders", None, 401),
    ],
)
def test_who_passes(method: str, path: str, key: str | None, status: int) -> None:
    with Harness(ApiKey, config=CONFIG) as harness:
        exchange = harness.request(method, path, headers={"x-api-key": key} if key is not None else {})
    assert exchange.status == status


def test_the_backend_gets_a_name_and_never_a_key() -> None:
    with Harness(ApiKey, config=CONFIG) as harness:
        exchange = harness.request("GET", "/orders", headers={"X-API-Key": READER, "x-api-client": "root"})
    assert exchange.sent["x-api-client"] == "reader"
    assert "x-api-key" not in exchange.sent
    assert exchange.claims == {"sub": "reader", "scopes": ["orders:read"]}


def test_two_keys_in_one_request_are_none() -> None:
    with Harness(ApiKey, config=CONFIG) as harness:
        exchange = harness.request(headers=[("x-api-key", READER), ("x-api-key", WRITER)])
    assert exchange.status == 401


def test_what_a_stranger_is_told_says_how_to_ask_and_not_what_is_wrong_with_the_key() -> None:
    with Harness(ApiKey, config=CONFIG) as harness:
        unknown, over = (harness.request(headers={"x-api-key": key}) for key in ("plait_x", OLD))
    assert unknown.response == over.response
    assert unknown.response.headers["www-authenticate"] == 'ApiKey header="x-api-key"'


def test_who_lacks_a_scope_is_told_which() -> None:
    with Harness(ApiKey, config=CONFIG) as harness:
        assert harness.request("POST", "/orders", headers={"x-api-key": READER}).verdict == plait.Deny(
            "the API key lacks the scope orders:write"
        )


def test_without_forward_a_header_of_that_name_is_the_callers_own() -> None:
    with Harness(ApiKey, config={**CONFIG, "forward": ""}) as harness:
        exchange = harness.request("GET", "/orders", headers={"x-api-key": READER, "x-api-client": "mine"})
    assert exchange.sent["x-api-client"] == "mine"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "keys"),
        ({"keys": [{"name": "a", "sha256": "plait_reader"}]}, "keys[0].sha256"),
        ({"keys": [{"name": "a b", "sha256": "0" * 64}]}, "keys[0].name"),
        ({"keys": [{"name": "a", "sha256": "0" * 64, "expires": "2030-01-01T00:00:00"}]}, "timezone"),
        ({"keys": [{"name": "a", "sha256": "0" * 64}, {"name": "a", "sha256": "1" * 64}]}, "same name"),
        ({"keys": [{"name": "a", "sha256": "0" * 64}, {"name": "b", "sha256": "0" * 64}]}, "same sha256"),
        ({"keys": [], "rules": [{"path": "orders"}]}, "rules[0].path"),
        ({"keys": [], "hedaer": "x"}, "header"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_place(config: dict[str, object], told: str) -> None:
    with pytest.raises(plait.ConfigError, match=told.replace("[", r"\[")):
        Harness(ApiKey, config=config)


def test_a_made_key_works_with_the_lines_that_were_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert make(["billing", "orders:read"]) == 0
    lines = capsys.readouterr().out.splitlines()
    key, sha256 = lines[0].rpartition(" ")[2], lines[4].rpartition(" ")[2]
    with Harness(ApiKey, config={"keys": [{"name": "billing", "sha256": sha256}]}) as harness:
        assert harness.request(headers={"x-api-key": key}).sent["x-api-client"] == "billing"


@pytest.mark.parametrize("words", [[], ["--help"], ["a b"]])
def test_wrong_words_make_no_key(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert make(words) == 2
    assert "shown this once" not in capsys.readouterr().out
