"""`plait down`: ends a mesh that `plait up` started, however it was started."""

import os
import signal
import time

from plait_cli.errors import Failure
from plait_cli.meshes import MeshOption, StateOption, find

# Longer than the supervisor takes at worst: drain of the sidecars, then the control plane.
PATIENCE_SECONDS = 30.0


def down(mesh: MeshOption = None, state: StateOption = None) -> None:
    """Ends a mesh: its sidecars drain, then its control plane stops. Its state is kept for the next start."""
    target = find(mesh, state)
    pid = target.recorded().get("pid")
    if not isinstance(pid, int):
        raise Failure(f"mesh {target.name} does not say which process it is", f"its record: {target.record}")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while target.is_up():
        if time.monotonic() > deadline:
            raise Failure(f"mesh {target.name} (process {pid}) is still ending", f"kill {pid} ends it at once")
        time.sleep(0.05)
    print(f"✓ mesh {target.name} is down; its state is kept in {target.state}")
