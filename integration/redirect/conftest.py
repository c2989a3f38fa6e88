"""The pods of these tests as a fixture."""

from collections.abc import Iterator

import pytest
from pods import Pods, why_not


@pytest.fixture(scope="session")
def pods() -> Iterator[Pods]:
    """Pods that stand, ended whatever happens; a test leaves them as they were."""
    if why := why_not():
        pytest.skip(why)
    found = Pods()
    try:
        found.start()
        yield found
    finally:
        found.stop()
