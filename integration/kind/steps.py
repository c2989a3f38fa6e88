"""Where the sessions keep things, and how they tell of their steps. Called by `run` and by the conformance session."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plait"
FOLDER = CACHE / "kind"
LOGS = ROOT / "dist" / "kind-logs"


def step(name: str, what: Callable[[], T]) -> T:
    """Does it, and says how long it took."""
    began = time.monotonic()
    found = what()
    print(f"✓ {name:12} {time.monotonic() - began:.0f} s", flush=True)
    return found
