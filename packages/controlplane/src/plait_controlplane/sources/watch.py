"""A directory over time: when it changed and when it is quiet again. Called by `folder`.

All that changes until 50 ms are quiet (at most 500 ms) is one change. A file that somebody still writes to is waited
for; when that takes longer it counts as unreadable, so that half a file is never read as a whole one.
"""

import asyncio
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from watchfiles import awatch

from plait_controlplane.resources.document import Document, documents
from plait_controlplane.resources.problem import Problem
from plait_controlplane.sources.directory import FILE_BYTES, files, load
from plait_controlplane.sources.source import Reading, Unreadable

LOG = logging.getLogger(__name__)

QUIET_MILLISECONDS = 50
LONGEST_MILLISECONDS = 500
WRITER_CHECK_SECONDS = 0.02
RETRY_SECONDS = 0.5
BUSY = "somebody is writing to it: it is read when that ends"


async def changes(directory: Path) -> AsyncGenerator[None]:
    """Yields when the watch stands, and after each change once the directory is quiet.

    Goes on when the directory vanishes and comes back.
    """
    while True:
        events = awatch(directory, debounce=LONGEST_MILLISECONDS, step=QUIET_MILLISECONDS)
        coming = asyncio.ensure_future(anext(events, None))
        try:
            await asyncio.sleep(0)  # the watch stands before it waits for the first time
            yield
            while await coming is not None:
                yield
                coming = asyncio.ensure_future(anext(events, None))
        except OSError as error:
            LOG.warning("cannot watch %s: %s", directory, error)
        finally:
            coming.cancel()
        await asyncio.sleep(RETRY_SECONDS)


async def read_whole(directory: Path) -> Reading:
    """Reads the directory when nobody writes to it; raises Unreadable."""
    try:
        return await asyncio.to_thread(_read, directory)
    except OSError as error:
        raise Unreadable(f"{directory} cannot be read: {error}") from error


def _read(directory: Path) -> Reading:
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is no folder")
    deadline = time.monotonic() + LONGEST_MILLISECONDS / 1000
    busy: set[Path] = set()
    while True:
        late = time.monotonic() >= deadline
        busy = {path for path in files(directory) if _being_written(path)} | (busy if late else set())
        if late or not busy:
            before = _stamps(directory)
            world, problems = load(directory, dict.fromkeys(busy, BUSY))
            broken = _broken(problems, busy)
            changed = {path for path, _ in before ^ _stamps(directory)} - busy
            if not changed:
                return Reading(world, problems, broken, unsettled=bool(busy))
            busy |= changed
        time.sleep(WRITER_CHECK_SECONDS)


def _stamps(directory: Path) -> set[tuple[Path, tuple[int, int, int]]]:
    """What differs when a file was written to meanwhile."""
    found = ((path, path.stat()) for path in files(directory))
    return {(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns)) for path, stat in found}


def _broken(problems: list[Problem], busy: set[Path]) -> list[tuple[str, Document]]:
    broken: list[tuple[str, Document]] = []
    for path in sorted({Path(problem.file) for problem in problems if problem.severity == "error"} - busy):
        if path.is_file() and path.stat().st_size <= FILE_BYTES:
            found, _ = documents(str(path), path.read_text(encoding="utf-8", errors="replace"))
            broken.extend((str(path), document) for document in found)
    return broken


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
