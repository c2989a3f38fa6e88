"""What holds for every package here: its README is true, its example loads, its entry point is found."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

import plait_sdk as plait
import pytest
import yaml
from plait_sdk.config import config_table, read_config
from plait_sdk.definition import check
from plait_sdk.hookspecs import CONTROL_PLANE

PACKAGES = sorted(path.parent for path in Path(__file__).parent.glob("*/pyproject.toml"))


def project(package: Path) -> dict[str, Any]:
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]


def plugin(package: Path) -> type[plait.Plugin[Any]]:
    module, _, name = project(package)["entry-points"]["plait.plugins"][package.name].partition(":")
    found = getattr(importlib.import_module(module), name)
    assert issubclass(found, plait.Plugin)
    return found


def example(package: Path) -> dict[str, Any]:
    return yaml.safe_load((package / "README.md").read_text().split("```yaml\n")[1].split("```")[0])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_readme_tells_the_configuration(package: Path) -> None:
    readme, facts = (package / "README.md").read_text(), project(package)
    assert config_table(plugin(package).config_model()) in readme
    assert readme.startswith(f"# {facts['name']}\n\n{facts['description']}\n")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_readmes_example_loads(package: Path) -> None:
    written, found = example(package), plugin(package)
    if set(check(package.name, found)) <= CONTROL_PLANE:
        (spec,) = written["plugins"]  # the file of --hooks
    else:
        assert (written["apiVersion"], written["kind"]) == ("plait.dev/v1alpha1", "Plugin")
        spec = written["spec"]
    assert spec["package"] == project(package)["name"]
    read_config(package.name, found.config_model(), spec["config"])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_it_is_typed_and_has_tests_of_its_own(package: Path) -> None:
    assert list(package.glob("src/*/py.typed"))
    assert list(package.glob("tests/test_*.py"))
