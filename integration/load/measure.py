"""CPU, memory and load of a benchmark run. Called by bench.py; knows nothing of who is measured."""

import glob
import re
import socket
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """One run of wrk: answered requests, and how many were not 2xx or broke."""

    requests: int
    failed: int


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


def resident_kilobytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(r"VmRSS:\s+(\d+)", file.read())
        total += int(found.group(1)) if found else 0
    return total


def wrk(port: int, connections: int, seconds: int, path: str, host: str) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Host: {host}"]
    command.append(f"http://127.0.0.1:{port}{path}")
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    requests = re.search(r"(\d+) requests in", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = (int(bad.group(1)) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    return Load(int(requests.group(1)) if requests else 0, failed)


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
