"""The process of each pod, and the calls that a test makes from within one.

`serve NAME`: answers with NAME on loopback, port 8080, where only the pod's own proxy reaches it.
`call METHOD HOST PATH COUNT`: calls through the pod's own proxy, one after the other.
`load HOST PATH`: calls all the time until its standard input ends.
`dial ADDRESS PORT`: plain HTTP to an address, past every proxy. All but `serve` print JSON.
"""

import http.client
import json
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OUTBOUND = ("127.0.0.1", 15001)
PAUSE_SECONDS = 0.02
# Longer than a proxy waits for a peer that fell silent: what is counted is its answer.
TIMEOUT_SECONDS = 40


class Handler(BaseHTTPRequestHandler):
    """Answers with the name of the pod."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    name = ""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(self.name)))
        self.end_headers()
        self.wfile.write(self.name.encode())

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        """The proxy keeps the log."""


def call(method: str, host: str, path: str, address: tuple[str, int] = OUTBOUND) -> str:
    """Status and body; of what the mesh answered, its reason."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={"host": host})
        answer = connection.getresponse()
        return f"{answer.status} {answer.getheader('plait-reason') or answer.read().decode()}"
    except (OSError, http.client.HTTPException) as error:
        return f"broken {type(error).__name__}"
    finally:
        connection.close()


def load(host: str, path: str) -> Counter[str]:
    """What came back, until standard input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answers: Counter[str] = Counter()
    while not ended.is_set():
        answers[call("GET", host, path)] += 1
        time.sleep(PAUSE_SECONDS)
    return answers


def main() -> None:
    """Does what the first word says."""
    match sys.argv[1:]:
        case ["serve", name]:
            Handler.name = name
            # The first process of a container gets no signal that it does not ask for.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
        case ["call", method, host, path, count]:
            print(json.dumps(Counter(call(method, host, path) for _ in range(int(count)))))
        case ["load", host, path]:
            print(json.dumps(load(host, path)))
        case ["dial", address, port]:
            print(json.dumps(call("GET", "reviews", "/", (address, int(port)))))
        case words:
            sys.exit(f"not understood: {words}")


if __name__ == "__main__":
    main()
