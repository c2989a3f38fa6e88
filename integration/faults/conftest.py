"""How much load the tests here make: a short set beside all others, `--full` for what a release promises."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from scale import Scale


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of ours."""
    group = parser.getgroup("faults")
    group.addoption("--full", action="store_true", help="50,000 requests a fault, 500 a second; minutes each")
    group.addoption("--seed", type=int, help="the seed of a load that failed")


def pytest_configure(config: pytest.Config) -> None:
    """Names our marker."""
    config.addinivalue_line("markers", "fault: breaks a part of a running mesh; `./dev nox -s faults` runs these alone")


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    """The load of a test."""
    given = request.config.getoption("--seed", default=None)
    seed = random.randrange(1 << 30) if given is None else int(given)
    if request.config.getoption("--full", default=False):
        return Scale(500, 50_000, seed, True)
    return Scale(150, 1_500, seed, False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="plait-faults-") as place:
        yield Path(place)
