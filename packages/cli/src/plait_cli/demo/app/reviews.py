"""reviews: what readers thought of a book. Version v2 adds stars.

Run: python -m plait_cli.demo.app.reviews PORT VERSION INSTANCE.
"""

import sys

from plait_cli.demo.app.serving import Answer, serve


def main() -> None:
    """Serves one instance."""
    port, version, instance = sys.argv[1:4]

    def answer(path: str) -> Answer:
        book = path.rpartition("/")[2]
        facts: dict[str, object] = {"book": book, "review": "Could not put it down."}
        return 200, {**facts, "stars": 5} if version == "v2" else facts

    serve(int(port), {"version": version, "instance": instance}, answer)


if __name__ == "__main__":
    main()
