"""Owns how long the machine lets processes wait for a processor, so that a claim on time judges the mesh alone.

Called by the claims. Linux counts for every thread how long it could have run and did not
(`/proc/PID/task/TID/schedstat`); a kernel that counts nothing gives 0, and the claim judges the whole time.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

PROC = Path("/proc")

Waits = Mapping[tuple[int, str], float]
"""Seconds by process and thread, since each began."""


def waits(pids: Iterable[int], proc: Path = PROC) -> Waits:
    """What every thread of these processes has waited so far."""
    found = {}
    for pid in pids:
        for path in proc.glob(f"{pid}/task/*/schedstat"):
            try:
                found[pid, path.parent.name] = int(path.read_text().split()[1]) / 1e9
            except (OSError, ValueError, IndexError):
                continue  # the thread ended while we looked
    return found


def waited(before: Waits, after: Waits) -> float:
    """What work that passes through each process in turn lost between the two.

    Of a process its thread that waited longest counts, since others waited at the same time.
    """
    longest: dict[int, float] = {}
    for (pid, thread), seconds in after.items():
        lost = seconds - before.get((pid, thread), seconds)
        longest[pid] = max(longest.get(pid, 0.0), lost)
    return sum(longest.values())
