"""Owns the load: a bounded number of calls a second that web would make, each recorded as one JSON line on stdout.

Run by `stage` as a process of its own, so that the measuring does not slow the load. Standard library only. At most
`WORKERS` calls are in flight; a worker that is late does not catch up by hurrying.
"""

import http.client
import json
import socket
import sys
import threading
import time

WORKERS = 16
TIMEOUT_SECONDS = 10.0
LEDGER_PAUSE_SECONDS = 0.5

# One round of the mix: kind, URL, headers. Twenty entries: 75 % reviews, 15 % catalog, 5 % a tester, 5 % whole pages.
ROUND = (
    *[("reviews", "http://reviews/reviews/7", {})] * 15,
    *[("catalog", "http://catalog/books/7", {})] * 3,
    ("tester", "http://reviews/reviews/7", {"x-tester": "yes"}),
    ("page", "http://127.0.0.1:18001/books/7", {}),
)
PROXY = ("127.0.0.1", 18201)
PAGE = ("127.0.0.1", 18001)
LEDGER = ("127.0.0.1", 18301)

lock = threading.Lock()


def record(kind: str, began: float, status: int, version: str, instance: str, error: str) -> None:
    """Writes one call as `stage.Call` reads it; status 0 = no answer."""
    line = json.dumps([kind, began, time.monotonic() - began, status, version, instance, error])
    with lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def work(number: int, rate: float) -> None:
    """Makes every `WORKERS`-th call, on connections that it keeps."""
    connections = {address: http.client.HTTPConnection(*address, timeout=TIMEOUT_SECONDS) for address in (PROXY, PAGE)}
    tick = number
    start = time.monotonic()
    while True:
        kind, url, headers = ROUND[tick * 7 % len(ROUND)]  # 7 spreads the kinds over the round
        connection = connections[PAGE if kind == "page" else PROXY]
        call(connection, (kind, "/books/7" if kind == "page" else url), headers)
        tick += WORKERS
        due = start + (tick - number) / rate
        now = time.monotonic()
        if due > now:
            time.sleep(due - now)
        else:
            start += now - due


def call(connection: http.client.HTTPConnection, target: tuple[str, str], headers: dict[str, str]) -> None:
    """One call and its record."""
    began = time.monotonic()
    try:
        connection.request("GET", target[1], headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        version, instance = answer.headers.get("x-version", ""), answer.headers.get("x-instance", "")
        error = "" if answer.status == 200 else body.decode(errors="replace")[:300]
        record(target[0], began, answer.status, version, instance, error)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        record(target[0], began, 0, "", "", f"{type(error).__name__}: {error}")


def keep_ledger() -> None:
    """Keeps one connection to the ledger and writes to it twice a second."""
    while True:
        try:
            with socket.create_connection(LEDGER, TIMEOUT_SECONDS) as connection, connection.makefile("rw") as lines:
                while True:
                    began = time.monotonic()
                    lines.write("read 7\n")
                    lines.flush()
                    if not lines.readline():
                        raise OSError("the ledger closed the connection")
                    record("ledger", began, 200, "", "ledger-1", "")
                    time.sleep(LEDGER_PAUSE_SECONDS)
        except OSError as error:
            record("ledger", time.monotonic(), 0, "", "", f"{type(error).__name__}: {error}")
            time.sleep(LEDGER_PAUSE_SECONDS)


def main() -> None:
    """Runs until killed; the argument is the rate in calls a second."""
    rate = float(sys.argv[1])
    threads = [threading.Thread(target=work, args=(number, rate), daemon=True) for number in range(WORKERS)]
    threads.append(threading.Thread(target=keep_ledger, daemon=True))
    for thread in threads:
        thread.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
