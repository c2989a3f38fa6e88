"""web: the page of a book, put together from catalog and reviews; each page read is written to the ledger.

It calls others through its sidecar: HTTP as to any proxy (`http_proxy`), the ledger on the local port bound to it.
Run: http_proxy=http://127.0.0.1:18201 python -m plait_cli.demo.app.web PORT LEDGER_PORT.
"""

import json
import socket
import sys
import urllib.error
import urllib.request

from plait_cli.demo.app.serving import Answer, serve

TIMEOUT_SECONDS = 5.0


def main() -> None:
    """Serves the pages."""
    ledger_port = int(sys.argv[2])
    serve(int(sys.argv[1]), {"instance": "web-1"}, lambda path: page(path.rpartition("/")[2], ledger_port))


def page(book: str, ledger_port: int) -> Answer:
    """One page; an answer of a part that is not 200 becomes 502 with its text."""
    try:
        title = ask(f"http://catalog/books/{book}")["title"]
        review = ask(f"http://reviews/reviews/{book}")
        entry = write(f"read {book}", ledger_port)
    except urllib.error.HTTPError as error:
        return 502, {"error": error.read().decode(errors="replace")}
    except OSError as error:
        return 502, {"error": str(error)}
    return 200, {"title": title, "review": review["review"], "stars": review.get("stars"), "ledger": entry}


def ask(url: str) -> dict[str, object]:
    """GET through the proxy that the environment names."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
        return dict(json.load(answer))


def write(entry: str, port: int) -> str:
    """Writes a line to the ledger and returns what it answers."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(entry.encode() + b"\n")
        with connection.makefile() as answers:
            line = answers.readline()
    if not line:
        raise OSError("the ledger closed the connection")
    return line.strip()


if __name__ == "__main__":
    main()
