"""What became of each test, from the output of the suite. Called by `run`."""

import re
from collections.abc import Iterable

# A test is made of others, each with a line of its own further in: the outermost tells of all. What did not run
# is told of too, as skipped.
BEGINS = re.compile(r"^=== RUN   TestConformance/(Mesh\w+)$")
RESULT = re.compile(r"^ {4}--- (PASS|FAIL): TestConformance/(Mesh\w+) \(")


def counted(lines: Iterable[str]) -> dict[str, str]:
    """PASS or FAIL by the name of each test that ran. Printed when one begins; results are told after the last."""
    found: dict[str, str] = {}
    for line in lines:
        if match := BEGINS.match(line):
            print(f"· {match.group(1)}", flush=True)
        elif match := RESULT.match(line):
            result, name = match.groups()
            found[name] = result
            print(f"{'✓' if result == 'PASS' else '✗'} {name}", flush=True)
    return found
