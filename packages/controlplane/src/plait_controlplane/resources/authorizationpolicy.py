"""AuthorizationPolicy: who may do what."""

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from plait_controlplane.resources.fields import Label, Model, ObjectName, Port, Resource, rule

_IDENTITY = re.compile(r"^spiffe://[a-z0-9._-]+/ns/[A-Za-z0-9._-]+/sa/[A-Za-z0-9._-]+$")


def _identity(value: str) -> str:
    if not _IDENTITY.match(value):
        raise ValueError(f'"{value}" is no identity; write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT')
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f'"{value}" must start with "/"; write "/{value}"')
    if "*" in value.removesuffix("/*"):
        raise ValueError(f'"{value}": only a trailing "/*" is a wildcard')
    if "?" in value or "#" in value or "//" in value or "/../" in f"{value}/" or "/./" in f"{value}/":
        raise ValueError(f'"{value}" can never match: requests are compared by their canonical path without query')
    return value


def _host(value: str) -> str:
    plain = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@*\[\]]+)(?::\d*)?", value)
    if "*" in value:
        raise ValueError(f'"{value}": hosts have no wildcards; name each host')
    if plain is None:
        hint = f'write "[{value}]"' if value.count(":") > 1 else "write a name, for example reviews or reviews.shop"
        raise ValueError(f'"{value}" is no host; {hint}')
    wanted = plain[1].removesuffix(".")
    if wanted != value:
        raise ValueError(f'"{value}" can never match: hosts are compared without port and last dot; write "{wanted}"')
    return value


def _method(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z-]*", value):
        raise ValueError(f'"{value}" is no method; write "{value.upper()}"')
    return value


def _cidr(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f'"{value}" is no address range: {error}; write for example 10.0.0.0/8') from None


def _account(value: str) -> str:
    if not re.fullmatch(r"([a-z0-9-]+/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?", value):
        raise ValueError(f'"{value}" is no service account; write NAME or NAMESPACE/NAME')
    return value


class Source(Model):
    """rules[i].from[j]: fields AND, values OR."""

    identities: list[Annotated[str, AfterValidator(_identity)]] = Field(default_factory=list)
    namespaces: list[Label] = Field(default_factory=list)
    service_accounts: list[Annotated[str, AfterValidator(_account)]] = Field(default_factory=list)
    cidrs: list[Annotated[str, AfterValidator(_cidr)]] = Field(default_factory=list)
    claims: Any = None


class Header(Model):
    """to[j].headers[k]; no values = present with any."""

    name: str = Field(min_length=1)
    values: list[str] = Field(default_factory=list)


class Operation(Model):
    """rules[i].to[j]: fields AND, values OR."""

    ports: list[Port] = Field(default_factory=list)
    methods: list[Annotated[str, AfterValidator(_method)]] = Field(default_factory=list)
    paths: list[Annotated[str, AfterValidator(_path)]] = Field(default_factory=list)
    hosts: list[Annotated[str, AfterValidator(_host)]] = Field(default_factory=list)
    headers: list[Header] = Field(default_factory=list)


class Rule(Model):
    """rules[i]; {} matches everything."""

    from_: list[Source] = Field(default_factory=list, alias="from")
    to: list[Operation] = Field(default_factory=list)


class AuthorizationPolicySpec(Model):
    """spec. Without targetRefs and selector it covers its namespace."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "!has(self.targetRefs) || size(self.targetRefs) == 0 || !has(self.selector) || size(self.selector) == 0",
            "write targetRefs or selector, not both",
        )
    )

    target_refs: list[ObjectName] = Field(default_factory=list)
    selector: dict[str, str] = Field(default_factory=dict)
    action: Literal["Allow", "Deny"]
    mode: Literal["Enforce", "DryRun"] = "Enforce"
    rules: list[Rule] = Field(default_factory=list)


class AuthorizationPolicy(Resource):
    """Who may do what."""

    kind: Literal["AuthorizationPolicy"]
    spec: AuthorizationPolicySpec
