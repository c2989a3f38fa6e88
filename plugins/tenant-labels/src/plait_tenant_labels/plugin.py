"""The plugin: finds out whose request it is, and says so in a label of the metrics and an attribute of the span.

Loaded by a plugin worker through the entry point `tenant-labels`. A label is one of the names that the configuration
lists: what a caller can choose freely would make a series each. The span may hold any name.
"""

from collections.abc import Mapping

import plait_sdk as plait
from pydantic import Field, model_validator

LONGEST = 128
"""Characters of a tenant's name in a span; a caller may write more."""
NOTE = "tenant-labels.tenant"


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    tenants: list[str] = Field(description="those that have a label of their own; the others share one", max_length=500)
    header: str = Field("", description="the request header that names the tenant")
    segment: int = Field(0, description="or the segment of the path that does, 1 for the first", ge=0)
    namespace: bool = Field(False, description="or the namespace of the proven caller")
    label: str = Field("tenant", description="name of the label", pattern="^[a-z][a-z0-9_]{0,31}$")
    attribute: str = Field("plait.tenant", description='name of the span\'s attribute; "" = none')
    others: str = Field("other", description="the label of tenants that are not listed")
    none: str = Field("none", description="the label of requests that name no tenant")

    @model_validator(mode="after")
    def _has_one_source(self) -> "Config":
        if (bool(self.header), bool(self.segment), self.namespace).count(True) != 1:
            raise ValueError("give exactly one of `header`, `segment` and `namespace`: it names the tenant")
        return self


class TenantLabels(plait.Plugin[Config]):
    """Labels metrics and spans with the tenant of a request."""

    reads = plait.Reads(path=True, peer=True, headers=lambda config: {config.header} - {""})
    writes = plait.Writes(labels=lambda config: {config.label})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._known = frozenset(config.tenants)

    @plait.hookimpl
    def labels(self, request: plait.Request) -> Mapping[str, str]:
        """The label; what was found is noted for the span."""
        tenant = self._tenant(request)
        request.attributes[NOTE] = tenant
        shown = self.config.none if not tenant else tenant if tenant in self._known else self.config.others
        return {self.config.label: shown}

    @plait.hookimpl
    def span_attributes(self, request: plait.Request) -> Mapping[str, str] | None:
        """The attribute, with the name as it was found."""
        tenant = request.attributes.get(NOTE)
        return {self.config.attribute: tenant[:LONGEST]} if tenant and self.config.attribute else None

    def _tenant(self, request: plait.Request) -> str:
        config = self.config
        if config.header:
            return request.headers.get(config.header, "")
        if config.namespace:
            return request.peer.namespace or ""
        segments = request.path.split("/")
        return segments[config.segment] if config.segment < len(segments) else ""
