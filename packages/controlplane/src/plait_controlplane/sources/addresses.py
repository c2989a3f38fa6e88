"""The addresses that proxies told of themselves. Called by `folder`.

Kept in a file: a control plane that starts again knows them before the proxies come back.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


class Addresses:
    """IP address by workload ("namespace/name"): the last that its proxy told."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            kept = {}  # each proxy tells its own again when it connects
        self._told: dict[str, str] = {str(name): str(address) for name, address in kept.items()}

    @property
    def told(self) -> Mapping[str, str]:
        """All of them."""
        return self._told

    def tell(self, workloads: Sequence[str], address: str) -> bool:
        """Whether this is news; then it is on disk too."""
        told = {**self._told, **dict.fromkeys(workloads, address)}
        if told == self._told:
            return False
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(told, indent=1))
        os.replace(fresh, self._file)
        self._told = told
        return True
