"""Owns the wheel of a plugin and where it goes: built, digested, published to a folder that is an index, listed.

Called by `verbs/plugin.py`. An index is a folder of wheels and an `index.json` that tells version, file, digest and
plugins of each.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from configparser import ConfigParser
from dataclasses import asdict, dataclass
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from plait_cli.errors import NOT_SO, USAGE, Failure
from plait_cli.plugins.project import GROUP, Project

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A built package: what `package`, `version` and `digest` of a Plugin object say."""

    package: str
    version: str
    file: str
    digest: str
    plugins: list[str]


def build(project: Project, out: Path, *, isolated: bool) -> Wheel:
    """Builds the wheel into `out`.

    Raises:
        Failure: the build said no; what it said went to standard error.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        uv = shutil.which("uv")
        command = (
            [uv, "build", "-q", "--wheel", "--out-dir", fresh]
            if uv
            else project.python("-m", "build", "--wheel", "--outdir", fresh)
        )
        command += [] if isolated else ["--no-build-isolation"] if uv else ["--no-isolation"]
        if project.run(command).returncode != 0:
            raise Failure(f"{project.name} was not built", "what the build said stands above")
        (built,) = Path(fresh).glob("*.whl")
        shutil.copyfile(built, out / built.name)
    return inspect(out / built.name)


def inspect(path: Path) -> Wheel:
    """What a wheel says of itself.

    Raises:
        Failure: it is no wheel of a plugin.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
            metadata = Parser().parsestr(archive.read(names["METADATA"]).decode())
            points = archive.read(names["entry_points.txt"]).decode() if "entry_points.txt" in names else ""
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Failure(f"{path} is no wheel: {error}", "build one: plait plugin build", USAGE) from None
    plugins = ConfigParser(delimiters=("=",))
    plugins.read_string(points)
    offered = sorted(plugins[GROUP]) if GROUP in plugins else []
    if not offered:
        raise Failure(f"{path} offers no plugin: it has no entry points of {GROUP}", code=USAGE)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return Wheel(metadata["Name"], metadata["Version"], path.name, digest, offered)


def publish(path: Path, index: Path) -> Wheel:
    """Puts a wheel into an index; the same once more changes nothing.

    Raises:
        Failure: the index holds another wheel of that version: what is published never changes.
    """
    wheel = inspect(path)
    known = read_index(index)
    same = [each for each in known if (each["package"], each["version"]) == (wheel.package, wheel.version)]
    if any(each["digest"] != wheel.digest for each in same):
        hint = "raise the version: meshes may hold the digest of the one that is there"
        raise Failure(f"{index} holds another {wheel.package} {wheel.version}", hint, NOT_SO)
    if not same:
        index.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, index / wheel.file)
        _replace(index / INDEX, json.dumps({"wheels": [*known, asdict(wheel)]}, indent=2) + "\n")
    return wheel


def read_index(index: Path) -> list[dict[str, Any]]:
    """The wheels of an index, oldest first; none where there is no index yet.

    Raises:
        Failure: its `index.json` cannot be read.
    """
    try:
        wheels: list[dict[str, Any]] = json.loads((index / INDEX).read_text())["wheels"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(f"{index / INDEX} is no index of plugins: {error}", code=USAGE) from None
    return wheels


def installed() -> list[dict[str, Any]]:
    """The plugins that packages of this environment offer."""
    return [
        {"plugin": point.name, "package": point.dist.name, "version": point.dist.version, "entry": point.value}
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
        if point.dist is not None
    ]


def _replace(path: Path, text: str) -> None:
    """Writes a file in one step: a mesh may read it meanwhile."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)
