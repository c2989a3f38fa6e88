"""Text of a file -> typed objects and problems. Called by the sources."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from plait_controlplane.resources.document import Document, documents
from plait_controlplane.resources.fields import Resource
from plait_controlplane.resources.kinds import CLUSTER_SCOPED, KINDS, PLANNED, meant
from plait_controlplane.resources.problem import Path, Problem, Severity, did_you_mean, path_text

Key = tuple[str, str, str]
"""Kind, namespace (empty for cluster-scoped kinds), name."""


@dataclass(frozen=True)
class StoredObject:
    """An object with the file that it came from and the place of every field."""

    resource: Resource
    file: str
    document: Document

    @property
    def key(self) -> Key:
        meta = self.resource.metadata
        namespace = "" if self.resource.kind in CLUSTER_SCOPED else meta.namespace
        return self.resource.kind, namespace, meta.name

    @property
    def title(self) -> str:
        """As people name it: "HTTPRoute bookshop/reviews"."""
        return title(self.key)

    def problem(self, path: Path, message: str, severity: Severity = "error") -> Problem:
        """A problem at a field of this object."""
        line, column = self.document.place(path).value
        return Problem(self.file, line, column, self.title, path_text(path), message, severity)


def title(key: Key) -> str:
    """("HTTPRoute", "bookshop", "reviews") -> "HTTPRoute bookshop/reviews"."""
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def read(file: str, text: str) -> tuple[list[StoredObject], list[Problem]]:
    """All objects of a file that are right, and what is wrong with the others."""
    found: list[StoredObject] = []
    parsed, problems = documents(file, text)
    for document in parsed:
        model = _model(file, document, problems)
        if model is None:
            continue
        try:
            found.append(StoredObject(model.model_validate(document.data), file, document))
        except ValidationError as error:
            problems.extend(described(file, model, document, details) for details in error.errors())
    return found, problems


def _model(file: str, document: Document, problems: list[Problem]) -> type[Resource] | None:
    """The type of a document; adds a problem or a note when it is none of ours."""
    data = document.data
    if not isinstance(data, dict) or "kind" not in data or "apiVersion" not in data:
        line, column = document.place(()).value
        message = "an object needs apiVersion and kind; write for example apiVersion: v1, kind: Service"
        problems.append(Problem(file, line, column, "", "", message))
        return None
    version, kind = str(data["apiVersion"]), str(data["kind"])
    model = KINDS.get((version, kind))
    if model is None:
        problems.append(_other_kind(file, document, version, kind))
    return model


def _other_kind(file: str, document: Document, version: str, kind: str) -> Problem:
    """A problem when the kind was meant to be one of ours, and a note when it is somebody else's."""
    known = meant(version, kind)
    name = _title(document.data)
    if known is None and not version.startswith("plait.dev/"):
        place = document.place(("kind",)).value
        return Problem(file, *place, name, "kind", f"{kind} is not read by the mesh: skipped", "note")
    if known and known[1] == kind and known not in PLANNED:
        place = document.place(("apiVersion",)).value
        message = f'{kind} is read in apiVersion "{known[0]}", not "{version}"'
        return Problem(file, *place, name, "apiVersion", message)
    place = document.place(("kind",)).value
    if known is not None and known[1] == kind:
        message = f"UnsupportedValue: {kind} is not supported yet; remove it, nothing would enforce it"
    else:
        message = f'unknown kind "{kind}"' + (f'; did you mean "{known[1]}"?' if known else "")
    return Problem(file, *place, name, "kind", message)


def _title(data: Any) -> str:
    meta = data.get("metadata") if isinstance(data, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    kind = str(data.get("kind", "")) if isinstance(data, dict) else ""
    # Named by the kind that was meant, so that the last good version of the object is found.
    _, kind = (isinstance(data, dict) and meant(str(data.get("apiVersion", "")), kind)) or ("", kind)
    namespace = "" if kind in CLUSTER_SCOPED else str(meta.get("namespace", "default"))
    return title((kind, namespace, str(meta.get("name", "?"))))


def described(file: str, model: type[BaseModel], document: Document, details: ErrorDetails) -> Problem:
    """A mistake that validation found, in the user's terms."""
    name = _title(document.data)
    path = _real_path(document, details["loc"])
    place = document.place(path)
    match details["type"]:
        case "extra_forbidden":
            word = str(details["loc"][-1])
            near = did_you_mean(word, _fields(model, path[:-1]))
            return Problem(file, *place.key, name, path_text(path), f'unknown field "{word}"{near}')
        case "missing":
            field = str(details["loc"][-1])
            return Problem(file, *place.value, name, path_text((*path, field)), f'the field "{field}" is missing')
        case "literal_error":
            expected = details.get("ctx", {}).get("expected", "")
            message = f"{_quoted(details['input'])} is not allowed; write {expected}"
            return Problem(file, *place.value, name, path_text(path), message)
        case "value_error":
            message = details["msg"].removeprefix("Value error, ")
            return Problem(file, *place.value, name, path_text(path), message)
        case _:
            message = f"{_quoted(details['input'])}: {details['msg'][0].lower()}{details['msg'][1:]}"
            return Problem(file, *place.value, name, path_text(path), message)


def _quoted(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else "this" if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _real_path(document: Document, loc: tuple[int | str, ...]) -> Path:
    """The part of a validation path that stands in the document: validators add steps of their own (arms of unions)."""
    path: Path = ()
    for step in loc:
        if document.has((*path, step)):
            path = (*path, step)
    return path


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """The names that the model knows at a path."""
    current: Any = model
    for step in path:
        if isinstance(step, int):
            continue
        found = [field for field in _model_of(current).model_fields.values() if field.alias == step]
        if not found:
            return []
        current = found[0].annotation
    return [str(field.alias) for field in _model_of(current).model_fields.values()]


def _model_of(annotation: Any) -> type[BaseModel]:
    """The model inside list[...], Optional[...] and the like; an empty one when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        model = _model_of(inner)
        if model is not BaseModel:
            return model
    return BaseModel
