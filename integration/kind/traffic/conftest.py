"""The town of this folder as a fixture."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from town import Town


@pytest.fixture(scope="module")
def town(cluster: Cluster) -> Iterator[Town]:
    """One town for all tests of the folder, which leave it as it was; the first enrols it."""
    found = Town(cluster)
    try:
        found.start()
        yield found
    finally:
        found.remove()
