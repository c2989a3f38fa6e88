"""A cluster ends with what it was made for, however that ends; only who asks keeps it."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from cluster import Cluster


class Scripted(Cluster):
    """Notes what it would do."""

    def __init__(self, folder: Path, there: bool) -> None:
        super().__init__("test", folder)
        self.did: list[str] = []
        self._there = there

    @property
    def exists(self) -> bool:
        return self._there

    def create(self) -> None:
        self.did.append("create")

    def delete(self) -> None:
        self.did.append("delete")


@pytest.mark.parametrize(
    ("keep", "there", "did"),
    [
        (False, False, ["create", "delete"]),
        (False, True, ["create", "delete"]),  # one of another run: replaced
        (True, False, ["create"]),
        (True, True, []),
    ],
)
@pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt])
def test_a_cluster_lasts_as_long_as_it_should(
    tmp_path: Path, keep: bool, there: bool, did: list[str], end: type[BaseException] | None
) -> None:
    cluster = Scripted(tmp_path, there)
    with pytest.raises(end) if end else nullcontext(), cluster.there(keep):
        if end is not None:
            raise end
    assert cluster.did == did
