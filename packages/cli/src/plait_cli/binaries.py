"""Owns where the other distributions' commands are: in PLAIT_BIN, beside this Python, then on the path.

Called by `laptop`, `explain` and `version`.
"""

import os
import shutil
import sys
from pathlib import Path

from plait_cli.errors import Failure


def locate(command: str) -> str:
    """The path of `plait-proxy` or `plait-controlplane`; raises Failure with how to install it."""
    folders = [Path(sys.executable).parent]
    if chosen := os.environ.get("PLAIT_BIN"):  # a build of one's own, beside an installed one
        folders.insert(0, Path(chosen))
    for folder in folders:
        if os.access(folder / command, os.X_OK):
            return str(folder / command)
    found = shutil.which(command)
    if found is None:
        raise Failure(f"{command} is not installed", f"pip install {command}")
    return found
