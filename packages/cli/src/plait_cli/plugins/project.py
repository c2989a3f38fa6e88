"""Owns what `plait plugin` knows of the folder that it is used in: the package, its plugins, the configuration of its
example.

Called by the verbs that work on a plugin's sources.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plait_cli.errors import USAGE, Failure

GROUP = "plait.plugins"


@dataclass(frozen=True, slots=True)
class Project:
    """A plugin's package. `plugins` are entry points: a name, and "module:Class"."""

    folder: Path
    name: str
    version: str
    plugins: Mapping[str, str]

    def one(self, wanted: str | None) -> tuple[str, str]:
        """The plugin that is meant: the only one, or the one that is named.

        Raises:
            Failure: there are several, or none of that name.
        """
        names = ", ".join(self.plugins)
        if wanted is not None:
            if wanted not in self.plugins:
                raise Failure(f'{self.name} has no plugin "{wanted}"', f"it has {names}", USAGE)
            return wanted, self.plugins[wanted]
        if len(self.plugins) > 1:
            raise Failure(
                f"{self.name} has several plugins", f"choose one: --plugin {' or '.join(self.plugins)}", USAGE
            )
        return next(iter(self.plugins.items()))

    def config(self, given: Path | None) -> dict[str, Any]:
        """The configuration in `given`, else that of examples/plugin.yaml, else none.

        Raises:
            Failure: the file cannot be read as one.
        """
        path = given or self.folder / "examples" / "plugin.yaml"
        if given is None and not path.exists():
            return {}
        try:
            read = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise Failure(f"{path} cannot be read: {error}", code=USAGE) from error
        if not isinstance(read, dict):
            raise Failure(f"{path} holds no configuration", "a mapping of fields, or a Plugin object", USAGE)
        return dict(read["spec"].get("config", {})) if read.get("kind") == "Plugin" else read

    def python(self, *words: str) -> list[str]:
        """The command of this interpreter."""
        return [sys.executable, *words]

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a command in the folder, where the sources of the package come first."""
        source = str(self.folder / "src" if (self.folder / "src").is_dir() else self.folder)
        path = os.pathsep.join(each for each in (source, os.environ.get("PYTHONPATH", "")) if each)
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, cwd=self.folder, env=environment, text=True, check=False, **options)


def find_project(folder: Path) -> Project:
    """The package of a folder.

    Raises:
        Failure: it holds none, or one that offers no plugin.
    """
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text()).get("project", {})
    except OSError:
        raise Failure(
            f"{folder} holds no pyproject.toml", "go to a plugin's folder, or: plait plugin new NAME", USAGE
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"{path}: {error}", code=USAGE) from None
    plugins = project.get("entry-points", {}).get(GROUP, {})
    if not plugins:
        raise Failure(f"{path} offers no plugin", f'add [project.entry-points."{GROUP}"] NAME = "module:Class"', USAGE)
    return Project(folder.resolve(), project["name"], str(project.get("version", "0")), plugins)


def lines_with(mark: str, text: str) -> tuple[Any, str]:
    """The JSON of the line that begins with `mark`, None without one, and the other lines."""
    found = [line for line in text.splitlines() if line.startswith(mark)]
    others = "\n".join(line for line in text.splitlines() if not line.startswith(mark))
    return (json.loads(found[-1].removeprefix(mark)) if found else None), others.strip()
