"""Request smuggling: what the proxy sends on is read by other servers as the requests that it took it for.

The table is that of the codec's own test, which says what each request means. A backend may be stricter than we are,
never count differently.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from backends import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lane import Lane, Seen

TABLE = Path(__file__).parents[2] / "packages/proxy/crates/http1/tests/framing.json"

# Sent behind a case: who reads it as a request of its own agrees where the case ended.
END = b"GET /end HTTP/1.1\r\nhost: end\r\nconnection: close\r\n\r\n"

# What the codec refuses when the connection ends within it; to a caller that left the proxy says nothing.
UNFINISHED = {"no last chunk", "a body that ends early", "a chunk that ends early", "a head that ends early"}
# The codec knows one protocol, the proxy two.
OTHERWISE = {"an HTTP/2 preface"}
# What a backend refuses although it is lawful, by name of the case.
STRICTER = {"h11": set(), "http.server": set(), "nginx": {"asterisk form"}}


def _bytes(row: dict[str, Any]) -> bytes:
    text: str = row["request"]
    if "repeat" in row:
        piece, times = row["repeat"]
        text = text.replace("␞", piece * times)
    return text.encode("latin-1")


ROWS = [row for row in json.loads(TABLE.read_text()) if row["name"] not in OTHERWISE]
FORWARDED = [row for row in ROWS if row["expect"] == "forward"]
REFUSED = [row for row in ROWS if row["expect"] != "forward"]


def _means(row: dict[str, Any]) -> list[Message]:
    return [Message(method, target, body.encode("latin-1")) for method, target, body in row.get("means", [])]


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


@pytest.mark.parametrize("row", FORWARDED, ids=_names(FORWARDED))
def test_what_is_forwarded_is_read_as_it_was_meant(row: dict[str, Any], lanes: list[Lane]) -> None:
    meant = _means(row) + ([] if row.get("closes") else [Message("GET", "/end", b"")])
    for lane in lanes:
        seen = lane.send(_bytes(row) + END)
        strict = row["name"] in STRICTER[lane.backend.name]
        read = meant[1:] if strict else meant
        assert seen == Seen([400] * strict + [200] * len(read), [str(m) for m in read], read, cut=False), str(lane)


@pytest.mark.parametrize("row", REFUSED, ids=_names(REFUSED))
def test_what_is_refused_reaches_nobody(row: dict[str, Any], lanes: list[Lane]) -> None:
    unfinished = row["name"] in UNFINISHED
    read = _means(row)
    for lane in lanes:
        seen = lane.send(_bytes(row) + (b"" if unfinished else END), leaves=unfinished)
        refusal = [] if unfinished else [431 if row["expect"] == 431 else 400]
        assert seen == Seen([200] * len(read) + refusal, [str(m) for m in read], read, cut=unfinished), str(lane)


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
@given(row=st.sampled_from(FORWARDED), edits=EDITS)
def test_a_case_changed_at_random_is_refused_or_read_alike(
    row: dict[str, Any], edits: list[tuple[int, int, bytes]], lanes: list[Lane]
) -> None:
    data = _bytes(row)
    for at, removed, inserted in edits:
        at %= len(data) + 1
        data = data[:at] + inserted + data[at + removed :]
    found = {str(lane): lane.send(data + END) for lane in lanes}
    for name, seen in found.items():
        read = [str(message) for message in seen.messages]
        # Whoever left before the answer does not see it.
        assert seen.read == read[: len(seen.read)], (data, name, seen)
        assert len(read) - len(seen.read) <= seen.cut, (data, name, seen)
    most = max((seen.read for seen in found.values()), key=len)
    for name, seen in found.items():
        rest = iter(most)
        assert all(message in rest for message in seen.read), (data, name, found)
        # What one backend reads, another reads too, or refuses.
        refused = sum(status != 200 for status in seen.statuses)
        assert len(most) - len(seen.read) <= refused + seen.cut, (data, name, found)
