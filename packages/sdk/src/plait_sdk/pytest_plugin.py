"""Owns what pytest gets from this package: the fixtures `plait` and `golden`, and the option that says where tests run.

Loaded by pytest by its entry point, in every run where plait-sdk is installed: nothing heavy is imported before a
fixture is used.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from plait_sdk.testing.exchange import Exchange
    from plait_sdk.testing.harness import Harness

PLACES = ("memory", "proxy", "kind")
NOT_YET = {
    "proxy": "a harness on a real proxy does not exist yet: run in memory (the default), with the same dispatch",
    "kind": "a harness on a kind cluster does not exist yet: run in memory (the default)",
}
"""Places that are named but cannot be used, and why."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--plait` and `--plait-update`."""
    group = parser.getgroup("plait", "plugins of the service mesh Plait")
    group.addoption("--plait", choices=PLACES, default="memory", help="where the fixture `plait` runs plugins")
    group.addoption("--plait-update", action="store_true", help="write golden files anew instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses places that do not exist, rather than testing somewhere else."""
    place = config.getoption("--plait")
    if place in NOT_YET:
        raise pytest.UsageError(f"--plait={place}: {NOT_YET[place]}")


@pytest.fixture
def plait() -> Iterator[Callable[..., "Harness"]]:
    """Makes harnesses: `plait(YourPlugin, config={...})`, with the arguments of `plait_sdk.testing.Harness`.

    They are closed when the test ends.
    """
    from plait_sdk.testing.harness import Harness

    made: list[Harness] = []

    def make(*plugins: Any, **options: Any) -> "Harness":
        made.append(Harness(*plugins, **options))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compares exchanges with `golden/<test>.json` beside the test: `golden(exchange, ...)`.

    `--plait-update` writes the file; look at the difference before you commit it.
    """
    path = Path(request.path).parent / "golden" / f"{request.node.name}.json"

    def compare(*exchanges: "Exchange") -> None:
        found = [exchange.golden() for exchange in exchanges]
        if request.config.getoption("--plait-update"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
            return
        if not path.exists():
            pytest.fail(f"{path} does not exist; write it with --plait-update")
        assert found == json.loads(path.read_text()), f"{path} says otherwise; --plait-update writes it anew"

    return compare
