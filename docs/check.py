"""Checks the documentation: every file of this repository that a page names exists. Called by `nox -s docs`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERN = re.compile(r"`((?:[\w.-]+/)*\w[\w.-]*\.(?:rs|py|proto|toml|yaml|md))`|\]\(((?!http)[^)#]+)\)")


def main() -> int:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pages = [ROOT / name for name in listed if name.endswith(".md")]
    missing = 0
    for page in pages:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for match in PATTERN.finditer(line):
                named = (match.group(1) or match.group(2)).strip()
                beside = (page.parent / named).exists() or (ROOT / named).exists()
                if not beside and not any(name.endswith(f"/{named}") for name in listed):
                    print(f"{page.relative_to(ROOT)}:{number}: {named} does not exist", file=sys.stderr)
                    missing += 1
    print(f"{len(pages)} pages, {missing} dangling names")
    return 1 if missing else 0


sys.exit(main())
