"""Owns where the other distributions' commands are: beside this Python first, then on the path.

Called by `laptop`, `explain` and `version`.
"""

import shutil
import sys
from pathlib import Path

from plait_cli.errors import Failure


def locate(command: str) -> str:
    """The path of `plait-proxy` or `plait-controlplane`; raises Failure with how to install it."""
    beside = Path(sys.executable).parent / command
    if beside.is_file():
        return str(beside)
    found = shutil.which(command)
    if found is None:
        raise Failure(f"{command} is not installed", f"pip install {command}")
    return found
