"""The world of a cluster whose objects stand in YAML, as the source makes it of lists; no API server is asked."""

from collections import defaultdict
from textwrap import dedent
from typing import Any, cast

import yaml
from plait_controlplane.apiserver import ApiServer
from plait_controlplane.sources.kubernetes import KubernetesSource
from plait_controlplane.sources.source import Reading


class Cluster:
    """Use: `show` the objects, then `read`."""

    def __init__(self) -> None:
        self.source = KubernetesSource(cast(ApiServer, None))

    def show(self, items: list[dict[str, Any]]) -> None:
        """Everything that there is."""
        found = defaultdict(list)
        for item in items:
            found[item["kind"]].append(item)
        for store in self.source._stores():
            store.listed(found[store.kind.name], 1)
        self.source._synced.set()

    async def read(self) -> Reading:
        return await self.source.read()


def items_of(text: str) -> list[dict[str, Any]]:
    """The objects of a YAML text."""
    return [item for item in yaml.safe_load_all(dedent(text)) if item]
