"""Reading Prometheus text, and the arithmetic of two samples."""

import math

import pytest
from plait_cli.prometheus import Histogram, difference, parse, select


def test_samples_are_read_with_labels_escapes_and_without_comments() -> None:
    text = '# HELP a b\n# TYPE a counter\na{x="1",y="q\\"\\\\\\n"} 3\na_plain 4.5\nbroken line here now\n'
    assert parse(text) == {("a", (("x", "1"), ("y", 'q"\\\n'))): 3.0, ("a_plain", ()): 4.5}


@pytest.mark.parametrize(
    ("before", "after", "grown"), [(None, 5.0, 5.0), (2.0, 5.0, 3.0), (5.0, 5.0, 0.0), (9.0, 4.0, 4.0)]
)
def test_a_counter_that_fell_began_anew(before: float | None, after: float, grown: float) -> None:
    series = ("a", ())
    assert difference({} if before is None else {series: before}, {series: after}) == {series: grown}


HUNDRED = {0.001: 50.0, 0.01: 90.0, 0.1: 99.0, math.inf: 100.0}


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, None),
        ({0.1: 0.0, math.inf: 0.0}, 0.5, None),
        (HUNDRED, 0.5, 0.001),
        (HUNDRED, 0.25, 0.0005),
        (HUNDRED, 0.70, 0.0055),
        (HUNDRED, 0.99, 0.1),
        (HUNDRED, 1.0, 0.1),  # beyond the last bound: the highest one known
        ({0.5: 0.0, 1.0: 10.0, math.inf: 10.0}, 0.5, 0.75),
    ],
)
def test_percentiles(buckets: dict[float, float], share: float, expected: float | None) -> None:
    found = Histogram(buckets).percentile(share)
    assert found == (None if expected is None else pytest.approx(expected))


def test_select_gives_labels_and_values_of_one_metric() -> None:
    samples = parse('a{x="1"} 1\nb{x="2"} 2\n')
    assert list(select(samples, "b")) == [({"x": "2"}, 2.0)]
