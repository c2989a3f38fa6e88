"""The document and what it says of a request. Used by `plugin`; openapi-core does the judging.

What a service is called by is the mesh's business: the `servers` of the document are replaced by a base path.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.templating.media_types.exceptions import MediaTypeFinderError
from openapi_core.templating.paths.exceptions import OperationNotFound, PathError
from openapi_core.validation.request import validators
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from werkzeug.datastructures import Headers, ImmutableMultiDict

JUDGES = {
    "3.0": (validators.V30RequestParametersValidator, validators.V30RequestBodyValidator),
    "3.1": (validators.V31RequestParametersValidator, validators.V31RequestBodyValidator),
}
METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch", "trace"))


class Asked:
    """A request as openapi-core reads it."""

    def __init__(
        self,
        method: str,
        path: str,
        query: Mapping[str, list[str]],
        headers: list[tuple[str, str]],
        cookies: Mapping[str, str],
    ) -> None:
        self.host_url = ""
        self.path = path
        self.method = method.lower()
        found = Headers(headers)
        self.content_type = (found.get("content-type") or "").lower()
        pairs = [(name, value) for name, values in query.items() for value in values]
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(pairs), header=found, cookie=ImmutableMultiDict(cookies)
        )
        self.body: bytes | None = None


class Document:
    """A valid OpenAPI 3.0 or 3.1 document, ready to judge.

    Raises:
        ValueError: it is none, or of another version.
    """

    def __init__(self, text: Mapping[str, Any], base_path: str) -> None:
        version = str(text.get("openapi", ""))[:3]
        if version not in JUDGES:
            raise ValueError(f"the document's `openapi` is {text.get('openapi')!r}: 3.0 and 3.1 are read")
        paths = {path: _without_servers(item) for path, item in (text.get("paths") or {}).items()}
        whole = {**text, "paths": paths, "servers": [{"url": base_path or "/"}]}
        try:
            self._spec = OpenAPI.from_dict(whole).spec
        except Exception as error:
            # The library has many kinds of errors for this, some of its own parts'.
            raise ValueError(f"the document is no valid OpenAPI {version}: {error}") from error
        parameters, body = JUDGES[version]
        self._parameters, self._body = parameters(self._spec), body(self._spec)

    def problems(self, asked: Asked) -> Iterator[tuple[int, str]]:
        """What is wrong with a head: a status and a text each."""
        for error in self._parameters.iter_errors(asked):
            if isinstance(error, OperationNotFound):
                yield 405, f"{asked.method.upper()} is not described for {asked.path}"
            elif isinstance(error, PathError):
                yield 404, f"{asked.path} is not described"
            else:
                yield 400, told(error)

    def body_problems(self, asked: Asked) -> Iterator[tuple[int, str]]:
        """What is wrong with a body, of a request whose head was in order."""
        for error in self._body.iter_errors(asked):
            yield (415 if any(isinstance(each, MediaTypeFinderError) for each in _causes(error)) else 400), told(error)

    def is_described(self, asked: Asked) -> bool:
        """Whether the document has this path and method."""
        return not any(status in (404, 405) for status, _ in self.problems(asked))


def told(error: Exception) -> str:
    """An error of the library in one line: the innermost cause says most."""
    texts: list[str] = []
    for seen in _causes(error):
        if isinstance(seen, InvalidSchemaValue):
            return "; ".join([*texts, *(_described(each) for each in seen.schema_errors)])
        text = str(seen)
        if text and not any(text in other for other in texts):
            texts.append(text)
    return ": ".join(texts[:1] + texts[-1:] if len(texts) > 1 else texts) or type(error).__name__


def header_names(document: Mapping[str, Any]) -> set[str]:
    """The request headers that the document speaks of, wherever they are defined."""
    names = {"content-type"}
    for found in _objects(document):
        if found.get("in") == "header" and isinstance(found.get("name"), str):
            names.add(found["name"].lower())
        elif found.get("in") == "cookie":
            names.add("cookie")
    return names


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _without_servers(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    kept = {name: value for name, value in item.items() if name != "servers"}
    for name in METHODS & kept.keys():
        if isinstance(kept[name], Mapping):
            kept[name] = {each: value for each, value in kept[name].items() if each != "servers"}
    return kept


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _described(error: Any) -> str:
    """An error of jsonschema, with its place in the body."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"{path.lstrip('.')}: {error.message}" if path else str(error.message)
