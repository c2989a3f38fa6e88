"""Views show what was declared and nothing else, decode late, and record changes."""

from collections.abc import Callable
from typing import Any

import plait_sdk as plait
import pytest
from plait_sdk.host.memory import MemoryCall, MemoryInterest
from plait_sdk.scope import resolve

HEADERS = [("X-User", "ada"), ("x-two", "1"), ("X-Two", "2"), ("x-secret", "s")]


def request_of(reads: plait.Reads, writes: plait.Writes | None = None) -> tuple[plait.Request, MemoryCall]:
    scope = resolve("tenant", reads, writes or plait.Writes(), None, MemoryInterest)
    call = MemoryCall(plait_phase(), headers=HEADERS, method="GET", path="/a", query="q=1", authority="web")
    call.begin(0)
    return plait.Request(call, scope), call


def plait_phase() -> Any:
    from plait_sdk.calls import Phase

    return Phase.REQUEST


@pytest.mark.parametrize(
    ("look", "hint"),
    [
        (lambda request: request.method, "add method=True to its `reads`"),
        (lambda request: request.path, "add path=True to its `reads`"),
        (lambda request: request.query, "add query=True to its `reads`"),
        (lambda request: request.authority, "add authority=True to its `reads`"),
        (lambda request: request.scheme, "add authority=True to its `reads`"),
        (lambda request: request.peer, "add peer=True to its `reads`"),
        (lambda request: request.destination, "add destination=True to its `reads`"),
        (lambda request: request.headers["X-Secret"], 'add headers={"x-secret"} to its `reads`'),
        (lambda request: request.headers.get("x-secret"), 'add headers={"x-secret"} to its `reads`'),
        (lambda request: "x-secret" in request.headers, 'add headers={"x-secret"} to its `reads`'),
        (lambda request: request.headers.__setitem__("x-user", "b"), 'add headers={"x-user"} to its `writes`'),
        (lambda request: request.headers.add("x-user", "b"), 'add headers={"x-user"} to its `writes`'),
        (lambda request: request.headers.pop("x-user"), 'add headers={"x-user"} to its `writes`'),
        (lambda request: setattr(request, "path", "/b"), "add path=True to its `writes`"),
        (lambda request: setattr(request, "method", "PUT"), "add method=True to its `writes`"),
        (lambda request: setattr(request, "authority", "b"), "add authority=True to its `writes`"),
        (lambda request: setattr(request, "query", "b"), "add query=True to its `writes`"),
    ],
)
def test_what_is_not_declared_is_refused_with_what_to_write(look: Callable[[plait.Request], Any], hint: str) -> None:
    request, call = request_of(plait.Reads(headers={"x-user"}))
    with pytest.raises(plait.UndeclaredError) as refused:
        look(request)
    assert hint in str(refused.value)
    assert call.effects == []


def test_headers_ignore_case_and_join_values() -> None:
    request, _ = request_of(plait.Reads(headers={"X-User", "x-two"}))
    assert (request.headers["x-USER"], request.headers["X-Two"]) == ("ada", "1, 2")
    assert request.headers.all("x-two") == ["1", "2"]
    assert list(request.headers) == ["x-user", "x-two"]
    assert request.headers.get("x-two", "") == "1, 2"
    with pytest.raises(plait.UndeclaredError):
        request.headers["x-none"]


def test_all_headers_are_seen_when_all_are_declared() -> None:
    request, _ = request_of(plait.Reads(headers=plait.ALL))
    assert set(request.headers) == {"x-user", "x-two", "x-secret"}
    with pytest.raises(KeyError):
        request.headers["x-none"]


def test_changes_are_recorded_and_seen() -> None:
    request, call = request_of(plait.Reads(), plait.Writes(headers={"x-two", "x-new"}, path=True))
    request.headers["X-New"] = "n"
    request.headers.add("x-two", "3")
    assert request.headers["x-two"] == "1, 2, 3"
    del request.headers["x-two"]
    request.path = "/b"
    assert [(effect.kind, effect.name, effect.value) for effect in call.effects] == [
        ("set_request_header", "x-new", "n"),
        ("append_request_header", "x-two", "3"),
        ("remove_request_header", "x-two", ""),
        ("path", "/b", ""),
    ]
    assert ("x-two" in request.headers, dict(request.headers)) == (False, {"x-new": "n"})


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("x-new", "a\r\nb", ValueError),
        ("x-new", "a\0", ValueError),
        ("x new", "a", ValueError),
        ("x-new", 5, TypeError),
    ],
)
def test_a_header_that_would_break_the_message_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    request, call = request_of(plait.Reads(), plait.Writes(headers=plait.ALL))
    with pytest.raises(error):
        request.headers[name] = value
    assert call.effects == []


def test_names_of_headers_are_a_set_and_no_text() -> None:
    with pytest.raises(TypeError, match=r'a set such as \{"x-user"\}'):
        request_of(plait.Reads(headers="x-user"))


@pytest.mark.parametrize("make", [lambda: plait.Deny(""), lambda: plait.Deny("x", 200), lambda: plait.Reply(99)])
def test_a_verdict_that_cannot_be_sent_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make()
