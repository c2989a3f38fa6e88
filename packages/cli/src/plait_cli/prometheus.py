"""Owns the reading of Prometheus text and the arithmetic on two samples of it: differences and percentiles.

Called by `numbers`. Pure: no clock, no I/O.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?\s*$")
LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*,?')
ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}

Series = tuple[str, tuple[tuple[str, str], ...]]


def parse(text: str) -> dict[Series, float]:
    """All samples of one scrape by name and sorted labels; lines that are no samples are passed over."""
    samples: dict[Series, float] = {}
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match is None or line.startswith("#"):
            continue
        labels = {name: unescape(value) for name, value in LABEL.findall(match[2] or "")}
        try:
            samples[match[1], tuple(sorted(labels.items()))] = float(match[3])
        except ValueError:
            continue
    return samples


def unescape(value: str) -> str:
    """A label's value as it was before it was written."""
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), value)


def difference(before: Mapping[Series, float], after: Mapping[Series, float]) -> dict[Series, float]:
    """What counters grew by; one that fell began anew (its process restarted), so all of it is growth."""
    grown = {}
    for series, value in after.items():
        past = before.get(series, 0.0)
        grown[series] = value if value < past else value - past
    return grown


@dataclass
class Histogram:
    """Cumulative counts by upper bound in seconds, as Prometheus has them; several may be added up."""

    buckets: dict[float, float] = field(default_factory=dict)

    def add(self, bound: float, value: float) -> None:
        """Adds to the count of one bucket."""
        self.buckets[bound] = self.buckets.get(bound, 0.0) + value

    def percentile(self, share: float) -> float | None:
        """The value below which `share` (0 to 1) of the observations lie, linear inside a bucket; None without any.

        In the last bucket, which has no upper bound, the answer is the highest bound known: a lower limit.
        """
        bounds = sorted(self.buckets)
        if not bounds or self.buckets[bounds[-1]] <= 0:
            return None
        rank = share * self.buckets[bounds[-1]]
        low, below = 0.0, 0.0
        for bound in bounds:
            reached = self.buckets[bound]
            if reached >= rank and reached > below:
                return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (reached - below)
            low, below = (low if math.isinf(bound) else bound), reached
        return low


def select(samples: Mapping[Series, float], name: str) -> Iterable[tuple[dict[str, str], float]]:
    """Labels and values of one metric."""
    return ((dict(labels), value) for (metric, labels), value in samples.items() if metric == name)
