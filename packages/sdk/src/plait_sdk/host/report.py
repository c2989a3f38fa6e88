"""Owns what the proxy is told of a plugin that was loaded: its hooks, which phases cross for it, what it reads and
writes.

Called by the zygote for the message `loaded`.
"""

import sys
from importlib.metadata import version
from typing import Any

from plait_sdk.host.dispatch import TRACING
from plait_sdk.manager import Loaded, phases_of
from plait_sdk.markers import ALL, BodyMode

FLAGS = ("method", "path", "query", "authority", "peer", "destination")
CHANGES = ("method", "path", "query", "authority", "body", "response_body")


def describe(loaded: Loaded) -> dict[str, Any]:
    """The entry of one plugin."""
    scope = loaded.scope
    reads: dict[str, Any] = {flag: getattr(scope.reads, flag) for flag in FLAGS}
    reads |= {
        "headers": _names(scope.read_headers),
        "response_headers": _names(scope.read_response_headers),
        "trace": TRACING in sys.modules,
        "body": _body(scope.reads.body),
        "response_body": _body(scope.reads.response_body),
    }
    writes: dict[str, Any] = {change: getattr(scope.writes, change) for change in CHANGES}
    writes |= {
        "headers": _names(scope.write_headers),
        "response_headers": _names(scope.write_response_headers),
        "labels": _names(scope.write_labels),
    }
    return {
        "version": loaded.version,
        "sdk": version("plait-sdk"),
        "hooks": list(loaded.hooks),
        "phases": list(phases_of(loaded)),
        "reads": reads,
        "writes": writes,
        "sockets": loaded.plugin.uses_network,
    }


def _names(names: frozenset[str] | None) -> list[str] | str:
    return ALL if names is None else sorted(names)


def _body(mode: BodyMode) -> dict[str, Any]:
    return {"mode": mode.mode, "bytes": mode.limit_bytes}
