"""Every hook is documented in one way, its example runs, and `docs/reference/hooks.md` is what the specifications
say.
"""

import dataclasses
import inspect
import re
from pathlib import Path

import plait_sdk as plait
import pytest
from plait_sdk.calls import Phase
from plait_sdk.definition import check
from plait_sdk.hookspecs import FAMILIES, HOOKS, NOT_CALLED, ORDER_IN_REQUEST, SPECS, arguments
from plait_sdk.host.arguments import MAKERS
from plait_sdk.host.memory import MemoryInterest
from plait_sdk.manager import load
from plait_sdk.reference import hooks_page

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "hooks.md"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_when_how_often_and_what_it_changes(hook: str) -> None:
    text = inspect.getdoc(HOOKS[hook]) or ""
    assert re.search(r"^When: .*\.$", text, re.MULTILINE)
    assert re.search(r"^How often: .*\.$", text, re.MULTILINE)
    assert re.search(r"^Changes: .*\.$", text, re.MULTILINE)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_a_plugin(hook: str) -> None:
    example = inspect.cleandoc((inspect.getdoc(HOOKS[hook]) or "").split("Example:")[1])
    names: dict[str, object] = {"plait": plait, "dataclasses": dataclasses}
    body = "\n".join(f"    {line}" for line in example.splitlines())
    exec(compile(f"class Example(plait.Plugin[plait.PluginConfig]):\n{body}\n", f"{hook}.py", "exec"), names)
    plugin: type[plait.Plugin[plait.PluginConfig]] = names["Example"]  # type: ignore[assignment]
    assert check("example", plugin) == (hook,)
    assert load("example", plugin, None, MemoryInterest).hooks == (hook,)


def test_every_argument_of_a_hook_with_a_phase_can_be_made() -> None:
    needed = {name for hook in HOOKS if SPECS[hook].phase for name in arguments(hook)}
    assert needed - set(MAKERS) == {"body", "records"}


def test_every_phase_has_a_hook() -> None:
    assert {spec.phase for spec in SPECS.values() if spec.phase} == set(Phase) - {Phase.CANCEL}
    assert {hook for hook, spec in SPECS.items() if spec.phase is Phase.REQUEST} == set(ORDER_IN_REQUEST)


def test_hooks_that_are_not_called_are_hooks() -> None:
    assert set(HOOKS) >= set(NOT_CALLED)


def test_the_reference_is_what_the_specifications_say() -> None:
    assert PAGE.read_text() == hooks_page(), "write it anew: python -m plait_sdk.reference > docs/reference/hooks.md"


def test_the_reference_names_every_hook_and_no_other() -> None:
    named = re.findall(r"^### `(\w+)`", PAGE.read_text(), re.MULTILINE)
    assert named == [name for family in FAMILIES for name in vars(family) if name in HOOKS]
