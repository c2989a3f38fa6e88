"""Plugin: code of the user's that the requests of a proxy pass.

A plugin may guard something, and nobody but its author knows: what it cannot say is refused unless the user says Open.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from plait_controlplane.resources.fields import Duration, Label, Model, ObjectName, Resource

_PACKAGE = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?\Z")
_ENTRY_POINT = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}\Z")
_REFERENCE = re.compile(r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_QUANTITY = re.compile(r"^(\d{1,15})(Ki|Mi|Gi|k|M|G)?\Z")
_UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

LONGEST_DEADLINE = timedelta(seconds=10)
"""A plugin holds its caller for so long at most; what takes longer is no filter."""


def _package(value: str) -> str:
    if not _PACKAGE.match(value):
        raise ValueError(f'"{value}" is no name of a Python package')
    return value


def _entry_point(value: str) -> str:
    if not _ENTRY_POINT.match(value):
        raise ValueError(f'"{value}" is no name of an entry point')
    return value


def _version(value: str) -> str:
    try:
        return str(SpecifierSet(value))
    except InvalidSpecifier:
        raise ValueError(f'"{value}" is no version specifier; write for example ">=1,<2"') from None


def _digest(value: str) -> str:
    if not _DIGEST.match(value):
        raise ValueError(f'"{value}" is no digest; write sha256: and 64 hex digits, as `plait plugin build` prints it')
    return value


def _reference(value: str) -> str:
    if not _REFERENCE.match(value):
        raise ValueError(f'"{value}" is no Plugin; write NAME or NAMESPACE/NAME')
    return value


def _quantity(value: Any) -> Any:
    match = _QUANTITY.match(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError(f'"{value}" is no size; write for example 128Mi')
    return int(match[1]) * _UNITS[match[2]]


def _deadline(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= LONGEST_DEADLINE:
        raise ValueError("must be longer than nothing and at most 10s")
    return value


Package = Annotated[str, AfterValidator(_package)]
EntryPoint = Annotated[str, AfterValidator(_entry_point)]
Version = Annotated[str, AfterValidator(_version)]
Deadline = Annotated[Duration, AfterValidator(_deadline)]
Reference = Annotated[str, AfterValidator(_reference)]
Policy = Literal["Open", "Closed"]


class Order(Model):
    """spec.order: Plugins that this one runs before, and after."""

    before: list[Reference] = Field(default_factory=list)
    after: list[Reference] = Field(default_factory=list)


class Limits(Model):
    """spec.limits. `memory` is that of the worker, which the plugins of one trust group share."""

    deadline: Deadline = timedelta(milliseconds=50)
    memory: Annotated[
        int, BeforeValidator(_quantity), WithJsonSchema({"x-kubernetes-int-or-string": True}), Field(ge=2**24, le=2**34)
    ] = 128 * 2**20
    body: Annotated[
        int, BeforeValidator(_quantity), WithJsonSchema({"x-kubernetes-int-or-string": True}), Field(ge=0, le=2**24)
    ] = 2**20


class PluginSpec(Model):
    """spec."""

    package: Package
    plugin: EntryPoint | None = None
    version: Version = ""
    digest: Annotated[str, AfterValidator(_digest)] = ""
    direction: Literal["Inbound", "Outbound"]
    config: dict[str, Any] = Field(default_factory=dict)
    target_refs: list[ObjectName] = Field(min_length=1)
    order: Order = Order()
    limits: Limits = Limits()
    trust_group: Label | None = None
    on_error: Policy = "Closed"
    on_timeout: Policy = "Closed"
    on_load_failure: Policy = "Closed"


class Plugin(Resource):
    """A filter of the user's."""

    kind: Literal["Plugin"]
    spec: PluginSpec


class RefusedPlugin(Plugin):
    """Stands for one that cannot be read and may guard something: what it covers is refused."""
