"""catalog: titles by number. Run: python -m plait_cli.demo.app.catalog PORT."""

import sys

from plait_cli.demo.app.serving import Answer, serve

TITLES = {"7": "The Loom and the Thread", "8": "Plaiting for Beginners"}


def main() -> None:
    """Serves the catalog."""

    def answer(path: str) -> Answer:
        title = TITLES.get(path.rpartition("/")[2])
        return (200, {"title": title}) if title else (404, {"error": "no such book"})

    serve(int(sys.argv[1]), {"instance": "catalog-1"}, answer)


if __name__ == "__main__":
    main()
