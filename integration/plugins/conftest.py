"""The mesh of these tests as a fixture."""

from collections.abc import Iterator

import pytest
from plugged import Mesh


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """One mesh for all tests of a file; each leaves it without plugins."""
    found = Mesh()
    try:
        found.start()
        yield found
    finally:
        found.stop()
