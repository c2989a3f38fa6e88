"""Owns what `plait plugin new` writes: a package that builds, passes its tests and does something small of its kind.

Called by `verbs/plugin.py`. The texts stand in `templates/plugin`, `$name` and such are replaced.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template

from plait_cli.errors import USAGE, Failure

TEMPLATES = Path(__file__).parents[1] / "templates" / "plugin"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Kind(StrEnum):
    """What a plugin is for."""

    filter = "filter"
    auth = "auth"
    routing = "routing"
    telemetry = "telemetry"


@dataclass(frozen=True, slots=True)
class Example:
    """What differs between kinds, beside code and tests. `config` is that of the example, as YAML and as Python."""

    summary: str
    direction: str
    config: str
    check_config: str
    policy: str
    table: str


HEAD = "| field | type | default | meaning |\n|---|---|---|---|\n"
EXAMPLES = {
    Kind.filter: Example(
        "Copies the first segment of the path into a header.",
        "Inbound",
        "{header: x-tenant}",
        '{"header": "x-tenant"}',
        "Open",
        f"{HEAD}| `header` | string | `x-tenant` | The header that is set. |\n",
    ),
    Kind.auth: Example(
        "Lets everybody read, and some namespaces write.",
        "Inbound",
        "{namespaces: [shop]}",
        '{"namespaces": ["shop"]}',
        "Closed",
        f"{HEAD}| `namespaces` | list of string | `[]` | Namespaces whose workloads may change things. |\n",
    ),
    Kind.routing: Example(
        "Sends a request to the backend that a header names.",
        "Outbound",
        "{header: x-backend}",
        '{"header": "x-backend"}',
        "Open",
        f"{HEAD}| `header` | string | `x-backend` | The header that names the backend. |\n",
    ),
    Kind.telemetry: Example(
        "Labels the metrics of a request with a header's value.",
        "Inbound",
        "{header: x-tenant, known: [acme]}",
        '{"known": ["acme"]}',
        "Open",
        f"{HEAD}| `header` | string | `x-tenant` | The header whose value becomes the label. |\n"
        "| `known` | list of string | `[]` | Values that get a series of their own. |\n",
    ),
}


def scaffold(name: str, kind: Kind, parent: Path) -> Path:
    """Writes the package into `parent/name` and gives its folder.

    Raises:
        Failure: the name is none, or the folder is there already.
    """
    if not NAME.fullmatch(name):
        raise Failure(
            f'"{name}" is no name of a plugin', "small letters, digits and -, such as tenant-from-path", USAGE
        )
    folder = parent / name
    if folder.exists():
        raise Failure(f"{folder} is there already", "choose another name, or remove it first", USAGE)
    words = _words(name, kind)
    for path, template in _files(words["module"], kind).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(_filled(template, words))
    (folder / "src" / f"plait_{words['module']}" / "py.typed").touch()
    return folder


def _files(module: str, kind: Kind) -> dict[str, str]:
    return {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "tox.ini": "tox.ini",
        ".gitignore": "gitignore",
        "examples/plugin.yaml": "example.yaml",
        f"src/plait_{module}/__init__.py": "init.py",
        f"src/plait_{module}/plugin.py": f"{kind}.py",
        f"tests/test_{module}.py": f"test_{kind}.py",
        "tests/test_package.py": "test_package.py",
    }


def _words(name: str, kind: Kind) -> dict[str, str]:
    example = EXAMPLES[kind]
    words = {
        "name": name,
        "module": name.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "summary": example.summary,
        "direction": example.direction,
        "config": example.config,
        "check_config": example.check_config,
        "policy": example.policy,
        "table": example.table,
    }
    return words | {"example": _filled("example.yaml", words)}


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.tmpl").read_text()).substitute(words)
