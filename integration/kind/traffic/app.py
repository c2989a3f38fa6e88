"""The process of each pod, which knows nothing of a mesh, and what a test does from within one.

`serve NAME`: HTTP on port 8080; answers with NAME and the path that it saw.
`call URL COUNT`: GET after GET on one connection, redirects not followed; prints how often each answer came, as JSON.
`load URL`: the same on a connection each, until its standard input ends.
`alone URL SECONDS FILE`: the same for so long, with nobody listening; the counts go to a file.
`capture MARK...`: looks at every packet of its node until its standard input ends; prints in how many each mark stood.
"""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 40
# An application is told to end before those who call it are told; it serves on for as long as that takes.
GRACE_SECONDS = 5
ALL_PROTOCOLS = 3


class Handler(BaseHTTPRequestHandler):
    """Answers with the name of the pod; once it is to end, connections end with the answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    name = ""
    ending = threading.Event()
    # Held while a request is answered; whoever ends the process takes it last.
    answering = threading.Lock()

    def do_GET(self) -> None:
        body = f"{self.name} {self.path}".encode()
        with self.answering:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            if self.ending.is_set():
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The proxy keeps the log."""


def serve(name: str) -> None:
    """Until SIGTERM, and the grace after it."""
    Handler.name = name
    # The first process of a container gets no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: Handler.ending.set())
    threading.Thread(target=ThreadingHTTPServer(("", 8080), Handler).serve_forever, daemon=True).start()
    Handler.ending.wait()
    time.sleep(GRACE_SECONDS)
    Handler.answering.acquire()


def get(connection: http.client.HTTPConnection, path: str) -> str:
    """Status and body; of a redirect its location, of what the mesh answered its reason."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        return f"{answer.status} {answer.getheader('location') or answer.getheader('plait-reason') or body}"
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"broken {type(error).__name__}"


def call(url: str, count: int) -> Counter[str]:
    """All on one connection, as long as it lasts."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        return Counter(get(connection, parts.path or "/") for _ in range(count))
    finally:
        connection.close()


def until_told() -> threading.Event:
    """Set when standard input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    return ended


def load(url: str) -> Counter[str]:
    """What came back."""
    ended, answers = until_told(), Counter[str]()
    while not ended.is_set():
        answers += call(url, 1)
        time.sleep(PAUSE_SECONDS)
    return answers


def alone(url: str, seconds: float, file: str) -> None:
    """Detached from whoever asked for it, who may be gone meanwhile."""
    if os.fork():
        return
    os.setsid()
    with open(os.devnull, "r+b") as nowhere:
        for descriptor in (0, 1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    answers, until = Counter[str](), time.monotonic() + seconds
    while time.monotonic() < until:
        answers += call(url, 1)
        time.sleep(PAUSE_SECONDS)
    beside = f"{file}.new"
    with open(beside, "w") as out:
        json.dump(answers, out)
    os.replace(beside, file)


def capture(marks: list[str]) -> dict[str, int]:
    """Packets of all interfaces, in and out, but of loopback: over that the node gets what this program prints."""
    found = dict.fromkeys(marks, 0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as tap:
        tap.settimeout(0.2)
        print("looking", flush=True)
        ended = until_told()
        while not ended.is_set():
            try:
                packet, (interface, *_) = tap.recvfrom(65535)
            except TimeoutError:
                continue
            if interface == "lo":
                continue
            for mark in marks:
                found[mark] += mark.encode() in packet
    return found


def main() -> None:
    """Does what the first word says."""
    match sys.argv[1:]:
        case ["serve", name]:
            serve(name)
        case ["call", url, count]:
            print(json.dumps(call(url, int(count))))
        case ["load", url]:
            print(json.dumps(load(url)))
        case ["alone", url, seconds, file]:
            alone(url, float(seconds), file)
        case ["capture", *marks]:
            print(json.dumps(capture(marks)))
        case words:
            sys.exit(f"not understood: {words}")


if __name__ == "__main__":
    main()
