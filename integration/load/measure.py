"""CPU time, memory and system calls of processes, seen from outside.

Called by rounds.py, groups.py and contenders.py; knows nothing of who is measured.
"""

import contextlib
import glob
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ATTACH_SECONDS = 0.4


def cpu_nanoseconds(pids: list[int]) -> int:
    """Run time of all threads of the processes."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path) as file:
                    total += int(file.read().split()[0])
            except FileNotFoundError:
                continue  # the thread ended between listing and reading
    return total


def families(pids: list[int]) -> list[int]:
    """The processes with all that descend from them."""
    found = list(pids)
    for pid in found:  # grows as children are found
        for path in glob.glob(f"/proc/{pid}/task/*/children"):
            with contextlib.suppress(FileNotFoundError):  # the thread ended between listing and reading
                found += map(int, Path(path).read_text().split())
    return found


def resident_kilobytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(r"VmRSS:\s+(\d+)", file.read())
        total += int(found.group(1)) if found else 0
    return total


def wait_for_port(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port} after {seconds} s") from error
            time.sleep(0.05)
        else:
            return


def idle_connections(port: int, host: str, count: int) -> list[socket.socket]:
    """Opens connections that each carried one request and now rest; the caller closes them.

    One request at a time: what many at once leave behind in an allocator is not what an idle connection costs.
    """
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    opened = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), 5)
        opened.append(connection)
        connection.sendall(request)
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the proxy on port {port} did not answer 200")
    return opened


def system_calls(pids: list[int], folder: Path, load: Callable[[], int]) -> dict[str, float]:
    """Calls of the processes by name, for each of the requests that `load` says were answered."""
    reports = [folder / f"strace-{pid}" for pid in pids]
    tracers = [
        subprocess.Popen(
            ["strace", "-c", "-f", "-U", "calls,name", "-o", str(report), "-p", str(pid)], stderr=subprocess.DEVNULL
        )
        for pid, report in zip(pids, reports, strict=True)
    ]
    time.sleep(ATTACH_SECONDS)
    try:
        requests = load()
    finally:
        for tracer in tracers:
            tracer.send_signal(signal.SIGINT)
        for tracer in tracers:
            tracer.wait()
    calls: Counter[str] = Counter()
    for report in reports:
        for line in report.read_text().splitlines():
            found = re.fullmatch(r"\s*(\d+)\s+(\w+)\s*", line)
            if found and found.group(2) != "total":
                calls[found.group(2)] += int(found.group(1))
    return {name: count / max(1, requests) for name, count in calls.most_common()}
