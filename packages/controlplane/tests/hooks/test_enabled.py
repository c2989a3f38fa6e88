"""The file that names the plugins of the control plane, and what is said of a wrong one."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import plait_sdk as plait
import pytest
from plait_controlplane.hooks.enabled import BadFile, read_enabled
from plait_sdk.definition import check


def read(tmp_path: Path, text: str) -> object:
    file = tmp_path / "hooks.yaml"
    file.write_text(text)
    return read_enabled(file)


def test_a_file_names_plugins_in_their_order(tmp_path: Path) -> None:
    found = read_enabled(_written(tmp_path))
    assert [one.called for one in found] == ["plait-dns-discovery", "rules"]
    assert (found[0].deadline, found[0].on_error) == (timedelta(seconds=2), "Closed")
    assert (found[1].deadline, found[1].on_error, found[1].config) == (timedelta(seconds=1), "Open", {"a": 1})


def _written(tmp_path: Path) -> Path:
    file = tmp_path / "hooks.yaml"
    file.write_text(
        "plugins:\n- package: plait-dns-discovery\n"
        "- {package: house-rules, plugin: owner, name: rules, deadline: 1s, onError: Open, config: {a: 1}}\n"
    )
    return file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "plugins:\n- {package: p, onErorr: Open}",
            r':2:16: plugins\[0\].onErorr: unknown field .* did you mean "onError"',
        ),
        ("plugins:\n- {plugin: p}", r":2:3: plugins\[0\].package: the field .* is missing"),
        ("plugins:\n- {package: p, deadline: 1m}", r"plugins\[0\].deadline: .* at most 10s"),
        ("plugins:\n- {package: p, onError: Maybe}", r"plugins\[0\].onError: .*Maybe"),
        ("plugins:\n- {package: p}\n- {package: p}", 'two plugins are called "p"'),
        ("plugins: [", "not YAML"),
        ("", "write one document"),
        ("- p", "write one document"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadFile, match=told):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        read_enabled(tmp_path / "none.yaml")


GUIDE = Path(__file__).resolve().parents[4] / "docs" / "guide" / "control-plane-plugins.md"


def test_the_file_of_the_guide_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    file = tmp_path / "hooks.yaml"
    file.write_text(text)
    assert [one.called for one in read_enabled(file)] == ["owners", "dns"]


def test_the_plugin_of_the_guide_judges_as_it_says() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(text, "guide.py", "exec"), names)
    plugin = names["Owners"](plait.PluginConfig())
    assert check("owners", names["Owners"]) == ("validate",)
    labelled = {"metadata": {"labels": {"owner": "shop"}}}
    assert plugin.validate(plait.Resource("Service", "shop", "web", labelled)) == []
    found = plugin.validate(plait.Resource("Service", "shop", "web", {"metadata": {}}))
    assert [one.path for one in found] == ["metadata.labels"]
