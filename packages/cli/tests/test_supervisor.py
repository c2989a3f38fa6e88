"""Children with real processes: restarts, order of the end, nothing left behind."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from plait_cli import supervisor
from plait_cli.supervisor import Child, cap

PATIENCE_SECONDS = 10.0


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


SLEEPER = (
    "import sys, time; print('out'); print('err', file=sys.stderr, flush=True); sys.stdout.flush(); time.sleep(60)"
)


async def test_stderr_is_told_line_by_line_and_stdout_kept(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    child = Child("it", python(SLEEPER), tmp_path / "out", lambda name, line: said.append((name, line)))
    child.start()
    await until(lambda: ("it", "err") in said)
    await until(lambda: (tmp_path / "out").read_text() == "out\n")
    pid = child.pid
    assert pid is not None
    await child.stop()
    assert not alive(pid)


async def test_a_killed_child_is_started_again_and_a_held_one_only_when_released(tmp_path: Path) -> None:
    child = Child("it", python(SLEEPER), tmp_path / "out", lambda name, line: None)
    child.start()
    await until(lambda: child.pid is not None)
    child.kill(hold=False)
    await until(lambda: child.starts == 2 and child.pid is not None)
    child.kill(hold=True)
    await until(lambda: child.pid is None)
    child.release()
    await until(lambda: child.starts == 3 and child.pid is not None)
    await child.stop()


async def test_a_child_that_keeps_failing_is_told_with_its_code_and_longer_pauses(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child("it", python("raise SystemExit(7)"), tmp_path / "out", lambda name, line: said.append(line))
    child.start()
    await until(lambda: len(said) >= 2)
    await child.stop()
    assert said[:2] == [
        "ended with exit code 7; starting it again in 0.1 s",
        "ended with exit code 7; starting it again in 0.2 s",
    ]


async def test_a_child_deaf_to_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child("it", python(DEAF), tmp_path / "out", lambda name, line: said.append(line))
    child.start()
    await until(lambda: "deaf" in said)
    pid = child.pid
    assert pid is not None
    await child.stop(grace_seconds=0.1)
    assert not alive(pid)


async def test_a_missing_program_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child("it", ["/nonexistent/plait"], tmp_path / "out", lambda name, line: said.append(line))
    child.start()
    await until(lambda: bool(said))
    await child.stop()
    assert said[0].startswith("cannot start /nonexistent/plait")


DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", file=sys.stderr, flush=True)
time.sleep(60)
"""

PARENT = """
import asyncio, pathlib, sys
from plait_cli.supervisor import Child
async def main():
    child = Child("it", [sys.executable, "-c", "import time; time.sleep(60)"], pathlib.Path(sys.argv[1]), print)
    child.start()
    while child.pid is None:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *python(PARENT), str(tmp_path / "out"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(pid))


def test_a_log_beyond_its_limit_becomes_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 10)
    log = tmp_path / "access.log"
    cap(log)
    log.write_text("0123456789")
    cap(log)
    assert log.read_text() == "0123456789"
    log.write_text("0123456789a")
    cap(log)
    assert (log.read_text(), (tmp_path / "access.log.1").read_text()) == ("", "0123456789a")
