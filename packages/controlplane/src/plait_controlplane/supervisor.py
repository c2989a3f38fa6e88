"""The parent of the two processes: starts them, starts them again, leaves none behind. Called by `cli`."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

LOG = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A process that lived this long had a good start: its next fall begins the back-off anew.
HEALTHY_SECONDS = 10.0
STOP_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


async def supervise(commands: Sequence[Sequence[str]]) -> None:
    """Keeps a process of each command (what stands behind `python -m plait_controlplane`) until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    keepers = [asyncio.create_task(_keep(command, ended)) for command in commands]
    await asyncio.gather(*keepers)


async def _keep(command: Sequence[str], ended: asyncio.Event) -> None:
    failures = 0
    while not ended.is_set():
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "plait_controlplane",
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_dies_with(os.getpid()),
            # gRPC's core writes lines of its own to stderr, one for each client whose SNI is not a name it knows.
            env={"GRPC_VERBOSITY": "NONE", **os.environ},
        )
        code = await _until(process, ended)
        if ended.is_set():
            return
        failures = 0 if time.monotonic() - began > HEALTHY_SECONDS else failures
        pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
        failures += 1
        LOG.error("%s ended with %d; starting it again in %g s", command[0], code, pause)
        try:
            await asyncio.wait_for(ended.wait(), pause)
        except TimeoutError:
            continue


async def _until(process: asyncio.subprocess.Process, ended: asyncio.Event) -> int:
    """Waits for the end of the process, and makes one when we are to end."""
    gone = asyncio.create_task(process.wait())
    told = asyncio.create_task(ended.wait())
    await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not gone.done():
        process.terminate()
        await asyncio.wait({gone}, timeout=STOP_SECONDS)
    if not gone.done():
        process.kill()
    return await gone


def _dies_with(parent: int) -> Callable[[], None]:
    """For the child before exec: the kernel ends it when its parent is gone, however that ended."""

    def prepare() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone already
            os._exit(1)

    return prepare
