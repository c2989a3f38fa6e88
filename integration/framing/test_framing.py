"""Request smuggling: whatever the codec sends on is read by other servers as the requests that it was taken for.

The table is that of the codec's own test. A reader may be stricter than we are, never count differently.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TABLE = Path(__file__).parents[2] / "packages/proxy/crates/http1/tests/framing.json"

# Sent after the forwarded bytes: a reader that finds it knows where they ended, and closes.
END = b"GET /end HTTP/1.1\r\nhost: end\r\nconnection: close\r\n\r\n"

# What a reader refuses although it is lawful, by name of the case.
STRICTER: dict[str, set[str]] = {"h11": set(), "http.server": set(), "nginx": {"asterisk form"}}


def _bytes(row: dict[str, Any]) -> bytes:
    text: str = row["request"]
    if "repeat" in row:
        piece, times = row["repeat"]
        text = text.replace("␞", piece * times)
    return text.encode("latin-1")


CASES = [(row["name"], _bytes(row), row["expect"]) for row in json.loads(TABLE.read_text())]
FORWARDED = [(name, request) for name, request, expect in CASES if expect == "forward"]


@pytest.mark.parametrize(("name", "request_bytes", "expect"), CASES, ids=[name for name, _, _ in CASES])
def test_the_program_does_as_the_table_says(
    name: str, request_bytes: bytes, expect: int | str, reframe: Callable[[bytes], Any]
) -> None:
    forwarded = reframe(request_bytes)
    assert forwarded.status == (None if expect == "forward" else expect)


@pytest.mark.parametrize(("name", "request_bytes"), FORWARDED, ids=[name for name, _ in FORWARDED])
@pytest.mark.parametrize("reader", ["h11", "http.server", "nginx"])
def test_what_is_forwarded_is_read_as_it_was_meant(
    reader: str, name: str, request_bytes: bytes, reframe: Callable[[bytes], Any], request: pytest.FixtureRequest
) -> None:
    read = request.getfixturevalue("nginx") if reader == "nginx" else request.getfixturevalue("readers")[reader]
    forwarded = reframe(request_bytes)
    found = [(m.method, m.target, m.body) for m in read(forwarded.sent + END)]
    meant = [(m.method, m.target, m.body) for m in forwarded.messages] + [("GET", "/end", b"")]
    if name in STRICTER[reader]:
        assert found == meant[: len(found)]
        assert len(found) < len(meant), "it is not refused any more: take it off the list"
    else:
        assert found == meant


# What smuggling is made of.
PIECES = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b"0", b"5", b"\0", b"0\r\n\r\n", b"X: 1\r\n"]
PIECES += [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: x\r\n"]
PIECES += [b"GET /x HTTP/1.1\r\nHost: b\r\n\r\n"]
# Where, how many bytes are taken out, what is put in.
EDITS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from([b"", *PIECES])), min_size=1, max_size=3
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=st.sampled_from(FORWARDED), edits=EDITS)
def test_a_case_changed_at_random_is_refused_or_read_alike(
    case: tuple[str, bytes],
    edits: list[tuple[int, int, bytes]],
    reframe: Callable[[bytes], Any],
    readers: dict[str, Any],
) -> None:
    data = case[1]
    for at, removed, inserted in edits:
        at %= len(data) + 1
        data = data[:at] + inserted + data[at + removed :]
    forwarded = reframe(data)
    if forwarded.status is not None:
        return
    meant = [(m.method, m.target, m.body) for m in forwarded.messages] + [("GET", "/end", b"")]
    for name, read in readers.items():
        found = [(m.method, m.target, m.body) for m in read(forwarded.sent + END)]
        assert found == meant[: len(found)], name
