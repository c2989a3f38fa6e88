"""Owns recorded traffic: one request a line as JSON, read and replayed through a harness.

    {"method": "GET", "target": "/acme/x?q=1", "headers": [["x-user", "ada"]], "body": "text"}

Only `target` is required. A body that is no text is `{"base64": "..."}`; a list of bodies is sent as chunks.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plait_sdk.errors import PluginError, closest
from plait_sdk.testing.exchange import Exchange
from plait_sdk.testing.harness import Harness

KNOWN = ("method", "target", "headers", "body", "authority", "identity", "candidates", "traceparent")


def replay(harness: Harness, path: Path) -> Iterator[Exchange]:
    """Sends each recorded request, in order.

    Raises:
        PluginError: a line is none, with file and line.
    """
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip():
            recorded = _read(line, f"{path}:{number}")
            yield harness.request(recorded.pop("method", "GET"), recorded.pop("target"), **recorded)


def _read(line: str, place: str) -> dict[str, Any]:
    try:
        recorded = json.loads(line)
    except json.JSONDecodeError as error:
        raise PluginError(f"{place}: no JSON: {error.msg}") from error
    if not isinstance(recorded, dict) or "target" not in recorded:
        raise PluginError(f"{place}: a recorded request is an object with a target", '{"target": "/x"}')
    for name in recorded:
        if name not in KNOWN:
            raise PluginError(
                f'{place}: unknown field "{name}"', closest(name, KNOWN) or f"they are {', '.join(KNOWN)}"
            )
    if "headers" in recorded and not isinstance(recorded["headers"], dict):
        recorded["headers"] = [(name, value) for name, value in recorded["headers"]]
    if "body" in recorded:
        body = recorded["body"]
        recorded["body"] = [_bytes(each) for each in body] if isinstance(body, list) else _bytes(body)
    return recorded


def _bytes(body: Any) -> bytes:
    return base64.b64decode(body["base64"]) if isinstance(body, dict) else str(body).encode()
