"""Owns child processes: starts them, prefixes what they say, restarts them with back-off, and leaves none behind.

Called by `laptop` and by the demo. A child dies with this process however it ends (PDEATHSIG), and has a session of its
own so that Ctrl-C reaches only us and the order of the end is ours. Must not know what the children are for.
"""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A child that lived this long had a good start: its next fall begins the back-off anew.
HEALTHY_SECONDS = 10.0
STOP_SECONDS = 8.0
LOG_BYTES = 16 * 1024 * 1024
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)

Say = Callable[[str, str], None]


def die_with_parent() -> None:
    """Runs in the child before exec: the kernel kills it when the thread that started it is gone."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Child:
    """One supervised process. `output` gets its stdout; `say(name, line)` gets each line of its stderr.

    `prepare` runs before every start and may raise OSError or a Failure, which counts as a failed start.
    """

    name: str
    command: Sequence[str]
    output: Path
    say: Say
    prepare: Callable[[], Awaitable[None]] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    pid: int | None = None
    starts: int = 0
    held: bool = False
    _task: asyncio.Task[None] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """Begins to supervise; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name=self.name)

    async def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Ends the process: SIGTERM, and SIGKILL after the grace."""
        if self._task is None:
            return
        task, self._task = self._task, None
        pid = self.pid
        if pid is None:
            task.cancel()
        else:
            self.held = True
            self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait({task}, timeout=grace_seconds)
        if not done:
            self._signal(signal.SIGKILL)
            task.cancel()
            await asyncio.wait({task})

    def kill(self, hold: bool) -> None:
        """Kills the process as a crash would; with `hold` it stays away until `release`."""
        self.held = hold
        self._signal(signal.SIGKILL)

    def release(self) -> None:
        """Lets a held child start again."""
        self.held = False
        self._wake.set()

    def terminate(self) -> None:
        """Asks the process to end; it is started again as after any other end."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    async def _supervise(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            ended = await self._run_once()
            if self._task is None:
                return
            while self.held:
                self._wake.clear()
                await self._wake.wait()
                failures, ended = 0, ""
            if time.monotonic() - began > HEALTHY_SECONDS:
                failures = 0
            pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
            if ended:
                self.say(self.name, f"{ended}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _run_once(self) -> str:
        """One life of the process; returns how it ended."""
        try:
            if self.prepare is not None:
                await self.prepare()
            self.output.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except Exception as error:
            return f"cannot start: {error}"
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env={**os.environ, **self.environment},
            )
        except OSError as error:
            return f"cannot start {self.command[0]}: {error}"
        finally:
            os.close(handle)
        self.pid = process.pid
        self.starts += 1
        try:
            await self._relay(process)
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        finally:
            self.pid = None
        return f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def _relay(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stderr
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than the buffer: dropped, the stream goes on behind it
            if not line:
                return
            self.say(self.name, line.decode(errors="replace").rstrip())


def cap(path: Path) -> None:
    """Keeps a log below its limit: what is full becomes `.1`. The writer appends, so it goes on at the start."""
    try:
        if path.stat().st_size > LOG_BYTES:
            path.with_suffix(path.suffix + ".1").write_bytes(path.read_bytes())
            os.truncate(path, 0)
    except FileNotFoundError:
        return
