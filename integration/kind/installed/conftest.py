"""The shop of this folder as a fixture."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from labelled import Shop


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[Shop]:
    """One installation for all tests of the folder, which leave it as it was; the last one takes it away."""
    found = Shop(cluster)
    try:
        found.start()
        yield found
    finally:
        found.remove()
