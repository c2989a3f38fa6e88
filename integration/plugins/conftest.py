"""The mesh of these tests as a fixture."""

from collections.abc import Iterator

import pytest
from plugged import Mesh


def pytest_configure(config: pytest.Config) -> None:
    """Names our marker."""
    config.addinivalue_line("markers", "fault: breaks a part of a running mesh; `./dev nox -s faults` runs these alone")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """One mesh for all tests of a file; each leaves it without plugins."""
    found = Mesh()
    try:
        found.start()
        yield found
    finally:
        found.stop()
