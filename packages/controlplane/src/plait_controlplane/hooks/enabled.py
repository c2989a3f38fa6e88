"""Which plugins the control plane runs: the file of `--hooks`. Read by the hooks' process, by lint and by `plait`.

Whoever starts the control plane says what code runs in it; an object of the mesh cannot.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from plait_controlplane.resources.document import Document, documents
from plait_controlplane.resources.fields import Model
from plait_controlplane.resources.plugin import Deadline, EntryPoint, Package, Version
from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import described


class BadFile(Exception):
    """The file says nothing that can be done; each line names a place."""


class Enabled(Model):
    """plugins[i]."""

    package: Package
    plugin: EntryPoint | None = None
    """Which, where a package has several."""
    version: Version = ""
    name: EntryPoint | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    deadline: Deadline = timedelta(seconds=2)
    on_error: Literal["Open", "Closed"] = "Closed"
    """Whether an object passes that the plugin could not judge."""

    @property
    def called(self) -> str:
        """What messages, status and metrics call it."""
        return self.name or self.plugin or self.package


class File(Model):
    """The whole file."""

    plugins: list[Enabled]


def read_enabled(path: Path) -> list[Enabled]:
    """The plugins of a file, in the order in which their hooks run; raises BadFile."""
    try:
        parsed, problems = documents(str(path), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    if problems:
        raise BadFile("\n".join(map(_told, problems)))
    document = parsed[0] if len(parsed) == 1 else Document(None)
    if not isinstance(document.data, dict):
        raise BadFile(f"{path}: write one document, for example plugins: [{{package: plait-dns-discovery}}]")
    try:
        found = File.model_validate(document.data).plugins
    except ValidationError as error:
        every = [described(str(path), File, document, details) for details in error.errors()]
        raise BadFile("\n".join(map(_told, every))) from error
    names = [one.called for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadFile(f'{path}: two plugins are called "{twice}"; give one of them another name')
    return found


def _told(problem: Problem) -> str:
    path = f"{problem.path}: " if problem.path else ""
    return f"{problem.file}:{problem.line}:{problem.column}: {path}{problem.message}"
