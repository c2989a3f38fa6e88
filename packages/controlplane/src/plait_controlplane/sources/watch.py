"""A directory over time: when it changed and when it is quiet again. Called by `app`.

All that changes until 50 ms are quiet (at most 500 ms) is one change. A file that somebody still writes to is waited
for, so that half a file is never read as a whole one.
"""

import asyncio
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from plait_controlplane.resources.document import Document, documents
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.world import World
from plait_controlplane.sources.directory import FILE_BYTES, files, load

LOG = logging.getLogger(__name__)

QUIET_MILLISECONDS = 50
LONGEST_MILLISECONDS = 500
WRITER_CHECK_SECONDS = 0.02
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Reading:
    """What a directory held at one moment. `broken` are the documents of files with problems."""

    world: World
    problems: list[Problem]
    broken: list[tuple[str, Document]]


class Unreadable(Exception):
    """The directory cannot be read: what is in force stays."""


async def changes(directory: Path) -> AsyncIterator[None]:
    """Yields after each change once the directory is quiet; goes on when the directory vanishes and comes back."""
    while True:
        try:
            async for _ in awatch(directory, debounce=LONGEST_MILLISECONDS, step=QUIET_MILLISECONDS):
                yield
        except OSError as error:
            LOG.warning("cannot watch %s: %s", directory, error)
        await asyncio.sleep(RETRY_SECONDS)
        yield


async def read_whole(directory: Path) -> Reading:
    """Reads the directory when nobody writes to it; raises Unreadable."""
    try:
        return await asyncio.to_thread(_read, directory)
    except OSError as error:
        raise Unreadable(f"{directory} cannot be read: {error}") from error


def _read(directory: Path) -> Reading:
    deadline = time.monotonic() + LONGEST_MILLISECONDS / 1000
    while time.monotonic() < deadline and any(map(_being_written, files(directory))):
        time.sleep(WRITER_CHECK_SECONDS)
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is no folder")
    world, problems = load(directory)
    broken: list[tuple[str, Document]] = []
    for file in sorted({problem.file for problem in problems if problem.severity == "error"}):
        path = Path(file)
        if path.is_file() and path.stat().st_size <= FILE_BYTES:
            found, _ = documents(file, path.read_text(encoding="utf-8", errors="replace"))
            broken.extend((file, document) for document in found)
    return Reading(world, problems, broken)


def _being_written(path: Path) -> bool:
    """Whether anybody has the file open for writing. A read lease is refused then; it is given back at once."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A writer that comes while we hold the lease makes the kernel signal us: by one that is ignored, not by SIGIO.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no leases here (another user's file, a network file system): the quiet time must do
    finally:
        os.close(handle)
    return False
