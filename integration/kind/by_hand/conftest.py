"""The mesh of this folder as a fixture."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from handmade import Mesh


@pytest.fixture(scope="module")
def mesh(cluster: Cluster) -> Iterator[Mesh]:
    """One mesh for all tests of the folder, which leave it as it was."""
    found = Mesh(cluster)
    try:
        found.start()
        yield found
    finally:
        found.remove()
