"""What a user writes in `spec.config`. Read by `plugin` and by the three ways to ask."""

from typing import Literal

import plait_sdk as plait
from pydantic import Field, model_validator


class Config(plait.PluginConfig):
    """Whom to ask, what it is told, what it may change."""

    protocol: Literal["HTTP", "GRPC", "OPA"] = Field(
        description="HTTP: a status decides; GRPC: Envoy's envoy.service.auth.v3; OPA: OPA's data API"
    )
    url: str = Field(
        description="http:// or https:// with the path to ask under (OPA: of the rule, /v1/data/...); "
        "GRPC: grpc://host:port, grpcs:// with TLS",
    )
    headers: list[str] = Field(
        default_factory=lambda: ["authorization", "cookie"], description="request headers that it is told"
    )
    allowed_upstream_headers: list[str] = Field(
        default_factory=list, description="headers of its answer that are set in the request, when it lets it through"
    )
    allowed_client_headers: list[str] = Field(
        default_factory=lambda: ["content-type", "location", "set-cookie", "www-authenticate"],
        description="headers of its answer that the caller gets, when it refuses",
    )
    timeout_seconds: float = Field(0.04, description="how long it may take; then `onError` decides", gt=0, le=10)
    context: dict[str, str] = Field(default_factory=dict, description="told with every request, as it stands here")

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        schemes = ("grpc://", "grpcs://") if self.protocol == "GRPC" else ("http://", "https://")
        if not self.url.startswith(schemes) or not self.url.partition("://")[2].strip("/"):
            raise ValueError(f"url starts with {' or '.join(schemes)} for protocol {self.protocol}")
        return self
