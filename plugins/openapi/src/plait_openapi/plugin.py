"""The plugin: refuses requests that an OpenAPI document does not describe, before they cost the service anything.

Loaded by a plugin worker through the entry point `openapi`. Who may call is not judged here: the document's `security`
is the business of the plugins that authenticate.
"""

import json
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import plait_sdk as plait
from pydantic import Field, field_validator

from plait_openapi.document import Asked, Document, header_names

MOST_BODY = 1024 * 1024
"""Bytes of a body that is judged; a longer one is refused with 413."""
MOST_PROBLEMS = 10


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    document: dict[str, Any] = Field(description="the OpenAPI document, version 3.0 or 3.1, as YAML")
    base_path: str = Field("", description="what stands before the paths of the document", pattern="^(/.*[^/])?$")
    unknown: Literal["Refuse", "Pass"] = Field(
        "Refuse", description="paths and methods that the document does not have"
    )
    mode: Literal["Enforce", "DryRun"] = Field(
        "Enforce", description="DryRun lets all pass and logs what it would refuse"
    )

    @field_validator("document")
    @classmethod
    def _is_one(cls, document: dict[str, Any]) -> dict[str, Any]:
        Document(document, "")
        return document


class OpenApi(plait.Plugin[Config]):
    """Lets those requests pass that the document describes."""

    reads = plait.Reads(
        method=True,
        path=True,
        query=True,
        headers=lambda config: header_names(config.document),
        body=plait.buffer(MOST_BODY),
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._document = Document(config.document, config.base_path)
        self._headers = sorted(header_names(config.document))

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> plait.Verdict | None:
        """404, 405 or 400 for a head that does not fit."""
        return self._judged(request, self._document.problems(self._asked(request)))

    @plait.hookimpl
    def on_request_body(self, request: plait.Request, body: plait.Body) -> plait.Verdict | None:
        """400 or 415 for a body that does not fit; one that is wanted and is not there is such a body too."""
        asked = self._asked(request)
        asked.body = body.data or None
        if not self._document.is_described(asked):
            return None
        return self._judged(request, self._document.body_problems(asked))

    def _asked(self, request: plait.Request) -> Asked:
        headers = [(name, value) for name in self._headers for value in request.headers.all(name)]
        query = parse_qs(request.query, keep_blank_values=True)
        return Asked(
            request.method, unquote(request.path), query, headers, cookies(request) if "cookie" in self._headers else {}
        )

    def _judged(self, request: plait.Request, problems: Iterable[tuple[int, str]]) -> plait.Verdict | None:
        found = list(problems)[:MOST_PROBLEMS]
        if self.config.unknown == "Pass":
            found = [each for each in found if each[0] not in (404, 405)]
        if not found:
            return None
        if self.config.mode == "DryRun":
            print(f"{request.method} {request.path} would be refused: {'; '.join(text for _, text in found)}")
            return None
        return refusal(found)


def cookies(request: plait.Request) -> Mapping[str, str]:
    """The cookies of a request; those that nobody can read are none."""
    found = SimpleCookie()
    for line in request.headers.all("cookie"):
        try:
            found.load(line)
        except CookieError:
            continue
    return {name: morsel.value for name, morsel in found.items()}


def refusal(problems: list[tuple[int, str]]) -> plait.Reply:
    """What the caller is told (RFC 9457)."""
    status = problems[0][0]
    body = {
        "title": "the request does not fit the API's description",
        "status": status,
        "errors": [text for _, text in problems],
    }
    return plait.Reply(status, {"content-type": "application/problem+json"}, json.dumps(body))
