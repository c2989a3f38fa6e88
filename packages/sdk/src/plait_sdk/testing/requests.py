"""Owns requests that a stranger might send: a Hypothesis strategy over every field that a plugin declares.

Used by `conformance` and, where it helps, by authors. Needs Hypothesis: `plait-sdk[testing]`.
"""

from typing import Any

from hypothesis import strategies

from plait_sdk.scope import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY", "x")
SEGMENTS = ("", "a", "acme", "..", "%2F", "%00", "%zz", "ä", ";a=b", "*", "a" * 4000)
QUERIES = ("", "?", "?a", "?a=1&a=2", "?%00", "?" + "q" * 4000)
VALUES = ("", "a", "-1", "0", "é", "a, b", "=;,", '"', "Bearer ", "Basic ::", "{}", "[1", "%", "x" * 8000, "9" * 400)
STRANGERS = ("x-other", "cookie", "authorization")
"""Tried where a plugin reads every header."""


def odd_requests(scope: Scope) -> strategies.SearchStrategy[dict[str, Any]]:
    """Arguments of `Harness.request` that no well-behaved caller sends."""
    names = STRANGERS if scope.read_headers is None else tuple(sorted(scope.read_headers)) or STRANGERS
    header = strategies.tuples(strategies.sampled_from(names), strategies.sampled_from(VALUES))
    segments = strategies.lists(strategies.sampled_from(SEGMENTS), max_size=4)
    return strategies.fixed_dictionaries(
        {
            "method": strategies.sampled_from(METHODS),
            "target": strategies.builds(_target, segments, strategies.sampled_from(QUERIES)),
            "headers": strategies.lists(header, max_size=4),
            "body": strategies.lists(strategies.binary(max_size=40), max_size=3),
            "authority": strategies.sampled_from(("web.shop:80", "", "[::1]:80", "a" * 300)),
            "identity": strategies.sampled_from((None, "spiffe://shop.example/ns/shop/sa/web", "spiffe://x/y")),
            "candidates": strategies.sampled_from(((), ("shop/web",), ("shop/web-v1", "shop/web-v2", "other/web"))),
        }
    )


def _target(segments: list[str], query: str) -> str:
    return "/" + "/".join(segments) + query
