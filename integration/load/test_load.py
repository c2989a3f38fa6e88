"""Which loads count: those whose answers were all whole and as they should be."""

import pytest
from load import Asked, calls, request

SAID = """
requests: {requests} total, 1128 started, {requests} done, {requests} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {ok} 2xx, 0 3xx, 0 4xx, {refused} 5xx
traffic: 1.00MB (1048576) total, 1.00KB (1024) headers (space savings 94.73%), 102.54KB ({data}) data
"""


@pytest.mark.parametrize(
    ("said", "void"),
    [
        ({}, ""),
        # Heads and bodies of what was under way when the time was over.
        ({"ok": 1128}, ""),
        ({"data": 1128 * 105}, ""),
        ({"refused": 2}, "2 not 2xx, 0 broken"),
        ({"failed": 3}, "0 not 2xx, 3 broken"),
        # A refusal of gRPC is a 200 without a message.
        ({"data": 999 * 105}, "104895 bytes in 1000 answers of 105"),
        ({"data": 1129 * 105}, "118545 bytes in 1000 answers of 105"),
    ],
)
def test_calls_count_when_all_were_answered_with_their_message(said: dict[str, int], void: str) -> None:
    text = SAID.format(**{"requests": 1000, "ok": 1000, "refused": 0, "failed": 0, "data": 1000 * 105} | said)
    done = calls(text)
    assert (done.requests, done.void) == (1000, void)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (Asked(), b"GET / HTTP/1.1\r\nHost: origin\r\n\r\n"),
        (
            Asked("/a", ("x-user: alice",), 3),
            b"POST /a HTTP/1.1\r\nHost: origin\r\nx-user: alice\r\nContent-Length: 3\r\n\r\nxxx",
        ),
    ],
)
def test_the_answer_that_is_measured_is_that_to_the_same_request(asked: Asked, sent: bytes) -> None:
    assert request(asked) == sent


def test_a_generator_that_says_something_else_is_no_load() -> None:
    assert calls("h2load: could not connect").void == "h2load printed no count"
