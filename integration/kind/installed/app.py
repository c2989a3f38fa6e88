"""The process of each pod, which knows nothing of a mesh, and the calls that a test makes from within one.

`serve NAME`: HTTP on port 8080 of every address; answers with NAME, and on /ready with 200 until /unwell was called.
`call URL COUNT`: GET, one after the other; prints how often each answer came, as JSON.
`load URL`: the same until its standard input ends.
"""

import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 40


class Handler(BaseHTTPRequestHandler):
    """Answers with the name of the pod."""

    protocol_version = "HTTP/1.1"
    name = ""
    is_well = True

    def do_GET(self) -> None:
        if self.path == "/unwell":
            Handler.is_well = False
        self.send_response(200 if self.path != "/ready" or Handler.is_well else 500)
        self.send_header("content-length", str(len(self.name)))
        self.end_headers()
        self.wfile.write(self.name.encode())

    def log_message(self, format: str, *args: object) -> None:
        """The proxy keeps the log."""


def call(url: str) -> str:
    """Status and body; of what the mesh answered, its reason."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.headers.get('plait-reason')}"
    except OSError as error:
        return f"broken {type(error).__name__}"


def load(url: str) -> Counter[str]:
    """What came back, until standard input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answers: Counter[str] = Counter()
    while not ended.is_set():
        answers[call(url)] += 1
        time.sleep(PAUSE_SECONDS)
    return answers


def main() -> None:
    """Does what the first word says."""
    match sys.argv[1:]:
        case ["serve", name]:
            Handler.name = name
            # The first process of a container gets no signal that it does not ask for.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            ThreadingHTTPServer(("", 8080), Handler).serve_forever()
        case ["call", url, count]:
            print(json.dumps(Counter(call(url) for _ in range(int(count)))))
        case ["load", url]:
            print(json.dumps(load(url)))
        case words:
            sys.exit(f"not understood: {words}")


if __name__ == "__main__":
    main()
