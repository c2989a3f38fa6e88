"""Owns the property that bodies may arrive in any pieces: a Hypothesis strategy of splits.

Used by authors' tests and by `plait plugin check`. Needs Hypothesis: `plait-sdk[testing]`.
"""

from itertools import pairwise

from hypothesis import strategies

MOST_CUTS = 8
"""Pieces beyond that find nothing new and make a failure hard to read."""


def splits(body: bytes) -> strategies.SearchStrategy[list[bytes]]:
    """Every way to cut a body into chunks, empty ones included.

    Example:
        @given(chunks=splits(b"<a>text</a>"))
        def test_any_split(chunks): ...
    """
    cuts = strategies.lists(strategies.integers(0, len(body)), max_size=MOST_CUTS).map(sorted)
    return cuts.map(lambda places: _cut(body, places))


def _cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *places, len(body)]
    return [body[start:end] for start, end in pairwise(edges)]
