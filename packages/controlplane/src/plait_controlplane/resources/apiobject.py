"""An object of the API server -> the same typed objects and problems as from a file. Called by `sources.kubernetes`.

What Kubernetes itself defines may carry any field: its schema grows with its releases. Everywhere else a field that
nobody here knows is a problem of that object, as in a file.
"""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from plait_controlplane.resources.document import Document, Place
from plait_controlplane.resources.fields import Metadata, Resource
from plait_controlplane.resources.problem import Path, Problem
from plait_controlplane.resources.reader import StoredObject, described

NOWHERE = Place((0, 0), (0, 0))
"""Objects of the API server have no lines."""


class ApiDocument(Document):
    """Plain data without places: the path of a field says where it is."""

    def place(self, path: Path) -> Place:
        """There is none."""
        return NOWHERE

    def has(self, path: Path) -> bool:
        """Whether a field stands there."""
        found = self.data
        for step in path:
            fits = step in found if isinstance(found, dict) else isinstance(found, list) and step in range(len(found))
            if not fits:
                return False
            found = found[step]
        return True


def read_object(
    model: type[Resource], data: dict[str, Any], strict: bool
) -> tuple[StoredObject | None, list[Problem], Document]:
    """The object, or what is wrong with it. Not `strict`: fields that the model does not know are left out."""
    known = known_part(model, data) if not strict else data
    document = ApiDocument({**known, "metadata": known_part(Metadata, data.get("metadata", {}))})
    name = place_of(data)
    try:
        return StoredObject(model.model_validate(document.data), name, document), [], document
    except ValidationError as error:
        return None, [described(name, model, document, details) for details in error.errors()], document


def place_of(data: dict[str, Any]) -> str:
    """What stands for a file: "HTTPRoute/shop/reviews"."""
    meta = data.get("metadata", {})
    parts = (data.get("kind", ""), meta.get("namespace", ""), meta.get("name", ""))
    return "/".join(str(part) for part in parts if part)


def known_part(annotation: Any, data: Any) -> Any:
    """The fields of `data` that the model knows, at every depth."""
    if isinstance(data, list):
        inner = next(iter(get_args(annotation)), Any)
        return [known_part(inner, item) for item in data]
    model = _model(annotation)
    if not isinstance(data, dict) or model is None:
        return data
    fields = {str(field.alias): field.annotation for field in model.model_fields.values()}
    return {name: known_part(fields[name], value) for name, value in data.items() if name in fields}


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, in Optional[...] too."""
    found = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
    return next((one for one in found if issubclass(one, BaseModel)), None)
