"""YAML with the place of every field. Called by reader.py; knows nothing of kinds.

Stricter than the library: a key that comes twice is refused, since readers differ in which one counts.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml

from plait_controlplane.resources.problem import Path, Problem

# An object deeper than this is no object of ours; the limit keeps a hostile file from exhausting the stack.
DEPTH = 64

# Aliases multiply: a few hundred bytes can stand for millions of fields. No honest document has this many.
FIELDS = 100_000


@dataclass(frozen=True)
class Place:
    """Where a field stands, counted from 1: its key, and its value."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass
class Document:
    """One YAML document: plain data, and the place of every path in it."""

    data: Any
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """The place of a path, or of the nearest field around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def has(self, path: Path) -> bool:
        """Whether a field stands there."""
        return path in self.places


class _Refused(Exception):
    def __init__(self, mark: yaml.Mark, message: str) -> None:
        super().__init__(message)
        self.mark, self.message = mark, message


def documents(file: str, text: str) -> tuple[list[Document], list[Problem]]:
    """All documents of a file. A file with a mistake in its YAML yields none: half a file is no file."""
    found: list[Document] = []
    try:
        for node in yaml.compose_all(
            text, Loader=yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
        ):
            if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
                continue
            document = Document(None)
            document.data = _build(node, (), _point(node.start_mark), document.places, 0)
            found.append(document)
    except _Refused as refused:
        line, column = _point(refused.mark)
        return [], [Problem(file, line, column, "", "", refused.message)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = _point(mark) if mark else (1, 1)
        return [], [Problem(file, line, column, "", "", f"not YAML: {error.problem or error.context or error}")]
    except yaml.YAMLError as error:
        return [], [Problem(file, 1, 1, "", "", f"not YAML: {error}")]
    return found, []


def _point(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _build(node: yaml.Node, path: Path, key: tuple[int, int], places: dict[Path, Place], depth: int) -> Any:
    if depth > DEPTH:
        raise _Refused(node.start_mark, f"nested deeper than {DEPTH} levels")
    if len(places) > FIELDS:
        raise _Refused(node.start_mark, f"more than {FIELDS} fields in one document, aliases counted")
    places[path] = Place(key, _point(node.start_mark))
    match node:
        case yaml.MappingNode():
            built: dict[str, Any] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                    raise _Refused(key_node.start_mark, "a key must be a plain word; merge keys (<<) are not read")
                name = str(key_node.value)
                if name in built:
                    raise _Refused(key_node.start_mark, f'the key "{name}" comes twice; remove one')
                at = _point(key_node.start_mark)
                built[name] = _build(value_node, (*path, name), at, places, depth + 1)
            return built
        case yaml.SequenceNode():
            return [
                _build(item, (*path, index), _point(item.start_mark), places, depth + 1)
                for index, item in enumerate(node.value)
            ]
        case _:
            return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, yaml.YAMLError) as error:
        raise _Refused(node.start_mark, f"not a value: {error}") from error
    # A date is text to us: metadata.creationTimestamp is compared as written.
    return value if isinstance(value, str | int | float | bool | None) else str(node.value)
