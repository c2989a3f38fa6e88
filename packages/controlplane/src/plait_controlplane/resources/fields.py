"""The types of fields that many kinds share: strict models, names, durations."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

_DURATION = re.compile(r"^(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_TOKEN = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}\Z")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")


def text(pattern: str, longest: int = 253) -> WithJsonSchema:
    """What the API server is told of a string, for the CustomResourceDefinition."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": longest})


def rule(cel: str, message: str) -> dict[str, Any]:
    """What the API server checks of an object where one field restricts another: for `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": cel, "message": message}]}


class Model(BaseModel):
    """Refuses what it does not know, converts nothing silently, cannot be changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be a duration in quotes or with a unit; write for example 250ms or 1m30s")
    match = _DURATION.match(value)
    if not value or not match:
        raise ValueError(f'"{value}" is no duration; write for example 250ms, 10s or 1m30s')
    hours, minutes, seconds, millis = (int(group or 0) for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis)


def _label(value: str) -> str:
    if not _LABEL.match(value):
        raise ValueError(f'"{value}" is no name; use lower-case letters, digits and "-", at most 63')
    return value


def _subdomain(value: str) -> str:
    if not _SUBDOMAIN.match(value):
        raise ValueError(f'"{value}" is no name; use lower-case letters, digits, "-" and ".", at most 253')
    return value


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise ValueError(f"{value} is no port; write a number from 1 to 65535")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), text("^([0-9]{1,5}(h|m|s|ms)){1,4}$", 24)]
"""A GEP-2257 duration: "250ms", "1m30s"."""


def _longer_than_nothing(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than nothing")
    return value


Span = Annotated[Duration, AfterValidator(_longer_than_nothing)]
"""A duration that is not zero."""

Label = Annotated[str, AfterValidator(_label), text(_LABEL.pattern, 63)]
Name = Annotated[str, AfterValidator(_subdomain), text(_SUBDOMAIN.pattern)]
Port = Annotated[int, AfterValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]


def _header_name(value: str) -> str:
    if not _TOKEN.match(value):
        raise ValueError(f'"{value}" is no header name')
    return value


HeaderName = Annotated[str, AfterValidator(_header_name), text("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$", 256)]


class Metadata(Model):
    """metadata of every object. Namespace defaults to "default", as kubectl has it."""

    name: Name
    namespace: Label = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    managed_fields: list[Any] = Field(default_factory=list)
    owner_references: list[Any] = Field(default_factory=list)
    finalizers: list[str] = Field(default_factory=list)


class Resource(Model):
    """What every object has."""

    api_version: str
    kind: str
    metadata: Metadata
    status: dict[str, Any] = Field(default_factory=dict)


class ObjectName(Model):
    """A reference to an object in the same namespace."""

    group: str = ""
    kind: str = "Service"
    name: Name
    namespace: Label | None = None
    section_name: str | None = None
