"""The mesh of these tests as fixtures: `shop` is shared by a file, `own_shop` is for tests that break something."""

from collections.abc import Iterator

import pytest
from shop import Shop


def pytest_configure(config: pytest.Config) -> None:
    """Names our marker."""
    config.addinivalue_line("markers", "fault: breaks a part of a running mesh; `./dev nox -s faults` runs these alone")


def running() -> Iterator[Shop]:
    """A mesh that is up, ended whatever happens."""
    found = Shop()
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """One mesh for all tests of a file, which leave it as it was."""
    yield from running()


@pytest.fixture
def own_shop() -> Iterator[Shop]:
    """A mesh for one test alone."""
    yield from running()
