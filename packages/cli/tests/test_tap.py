"""Which lines `plait tap` shows, and how they look."""

import pytest
from plait_cli.errors import Failure
from plait_cli.verbs.tap import Line, matching, show_line, status_of

LINE: Line = {
    "account": "shop/web",
    "time": "2026-01-02T03:04:05.678Z",
    "direction": "outbound",
    "protocol": "http1",
    "source": "shop/web-1",
    "destination": "shop/stock",
    "endpoint": "shop/stock-2",
    "method": "GET",
    "authority": "stock",
    "path": "/a/b",
    "status": 200,
    "reason": None,
    "object": None,
    "attempts": 1,
    "duration_ms": 1.25,
    "sent_bytes": 0,
    "received_bytes": 2,
}
DENIED = LINE | {"status": 403, "reason": "policy_denied", "object": "AuthorizationPolicy shop/stock"}
TCP = LINE | {"protocol": "tcp", "method": None, "path": None, "status": None, "sent_bytes": 1000}


@pytest.mark.parametrize(
    ("line", "source", "to", "path", "status", "side", "shown"),
    [
        (LINE, "", "", "", "", "outbound", True),
        (LINE, "", "", "", "", "inbound", False),
        (LINE, "web-1", "stock", "/a", "200", "outbound", True),
        (LINE, "shop/web-1", "shop/stock", "/a/b", "2xx", "outbound", True),
        (LINE, "web", "", "", "", "outbound", True),
        (LINE, "we", "", "", "", "outbound", False),
        (LINE, "", "other/stock", "", "", "outbound", False),
        (LINE, "", "", "/b", "", "outbound", False),
        (LINE, "", "", "", "5XX", "outbound", False),
        (DENIED, "", "", "", "4xx", "outbound", True),
        (TCP, "", "stock", "", "", "outbound", True),
        (TCP, "", "", "/", "", "outbound", False),
        (TCP, "", "", "", "2xx", "outbound", False),
    ],
)
def test_what_is_shown(line: Line, source: str, to: str, path: str, status: str, side: str, shown: bool) -> None:
    assert matching(source, to, path, status_of(status), side)(line) is shown


@pytest.mark.parametrize("text", ["5x", "6xx", "0xx", "xx", "20", "2000", "two"])
def test_what_is_no_status_is_told(text: str) -> None:
    with pytest.raises(Failure, match="is no status"):
        status_of(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE, "03:04:05.678  web-1 → stock  GET /a/b  200  1.2 ms  stock-2"),
        (LINE | {"attempts": 2}, "03:04:05.678  web-1 → stock  GET /a/b  200  1.2 ms  stock-2  2 attempts"),
        (
            DENIED | {"endpoint": None},
            "03:04:05.678  web-1 → stock  GET /a/b  403  1.2 ms  ! policy_denied AuthorizationPolicy shop/stock",
        ),
        (TCP, "03:04:05.678  web-1 → stock  tcp  1,000 B sent, 2 B received  1.2 ms  stock-2"),
        (LINE | {"path": "/\x1b[2J"}, "03:04:05.678  web-1 → stock  GET /\\x1b[2J  200  1.2 ms  stock-2"),
        (
            LINE | {"destination": None, "authority": "a.example"},
            "03:04:05.678  web-1 → a.example  GET /a/b  200  1.2 ms  stock-2",
        ),
    ],
)
def test_how_it_looks(line: Line, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_line(line)
    assert capsys.readouterr().out == expected + "\n"
