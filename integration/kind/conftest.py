"""The cluster of the scenarios as a fixture. Without one they are not collected: `./dev nox -s kind` makes it."""

import os
from pathlib import Path

import pytest
from cluster import Cluster

NAME = os.environ.get("PLAIT_KIND_CLUSTER", "")
collect_ignore = [] if NAME else [path.name for path in Path(__file__).parent.iterdir() if path.is_dir()]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that `run` made, with the images in it."""
    return Cluster(NAME, Path(os.environ["PLAIT_KIND_FOLDER"]))
