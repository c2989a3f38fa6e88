"""Owns single calls through a sidecar, as an application would make them; the claims use it beside the load."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


def get(port: int, url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """GET of an absolute URL through the proxy on a port of loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", url, headers=dict(headers or {}))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read().decode(errors="replace"))
    finally:
        connection.close()
