"""ledger: counts what was read, over plain TCP. A line is an entry, the answer its number.

Run: python -m plait_cli.demo.app.ledger PORT.
"""

import itertools
import socketserver
import sys

LONGEST_LINE = 1024


class Handler(socketserver.StreamRequestHandler):
    """One connection: each line in is a line out."""

    numbers = itertools.count(1)
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline(LONGEST_LINE):
            self.wfile.write(f"{next(self.numbers)} {line.decode(errors='replace').strip()}\n".encode())


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    daemon_threads = True
    allow_reuse_address = True


def main() -> None:
    """Serves the ledger."""
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
