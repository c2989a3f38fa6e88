"""A directory of YAML. Called by lint and by offline questions; reads files, gives no meaning to them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from plait_controlplane.resources.problem import Problem
from plait_controlplane.resources.reader import StoredObject, read
from plait_controlplane.resources.world import World, world_of

SUFFIXES = {".yaml", ".yml"}

# A file larger than this is no configuration; reading it whole would only exhaust memory.
FILE_BYTES = 8 * 1024 * 1024


def files(directory: Path) -> list[Path]:
    """The YAML files of a directory and below, sorted; hidden ones are left out."""
    found = (path for path in directory.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(directory).parts))


def load(directory: Path, left_out: Mapping[Path, str] = MappingProxyType({})) -> tuple[World, list[Problem]]:
    """The world of a directory, and every problem in its files. Files are named as the caller wrote the directory.

    Files that are `left_out` are a problem, each for its reason.
    """
    objects: list[StoredObject] = []
    problems: list[Problem] = []
    for path in files(directory):
        if path in left_out:
            problems.append(Problem(str(path), 1, 1, "", "", left_out[path]))
            continue
        if path.stat().st_size > FILE_BYTES:
            problems.append(Problem(str(path), 1, 1, "", "", f"larger than {FILE_BYTES >> 20} MiB: not read"))
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), 1, 1, "", "", f"not UTF-8 at byte {error.start}"))
            continue
        found, wrong = read(str(path), text)
        objects.extend(found)
        problems.extend(wrong)
    world, twice = world_of(objects)
    return world, problems + twice
