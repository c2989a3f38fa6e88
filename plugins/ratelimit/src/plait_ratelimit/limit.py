"""What a user writes of a limit, and whose request counts for it. Used by `plugin`."""

from typing import Literal

import plait_sdk as plait
from limits import RateLimitItem, RateLimitItemPerSecond
from pydantic import Field, model_validator

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Limit(plait.PluginConfig):
    """So many requests of one caller in a time."""

    name: str = Field(description="for the store and the caller's answer", pattern="^[a-z0-9][a-z0-9-]{0,62}$")
    requests: int = Field(description="how many are let through", gt=0)
    per: Literal["second", "minute", "hour", "day"] = Field("minute", description="in which time")
    key: Literal["all", "identity", "namespace", "address", "header", "claim"] = Field(
        "identity", description="who shares the limit: everybody, or each caller that this tells apart"
    )
    of: str = Field("", description="name of the header or claim")
    path: str = Field("/", description="the segment prefix that it is for", pattern="^/")

    @model_validator(mode="after")
    def _knows_of_what(self) -> "Limit":
        if (self.key in ("header", "claim")) != bool(self.of):
            raise ValueError("`of` names the header or claim, for `key: header` and `key: claim` alone")
        return self

    @property
    def item(self) -> RateLimitItem:
        """As the library has it."""
        return RateLimitItemPerSecond(self.requests, PERIODS[self.per], namespace=self.name)

    def holds(self, path: str) -> bool:
        """Whether a path is this limit's."""
        prefix = self.path.rstrip("/")
        return not prefix or path == prefix or path.startswith(prefix + "/")

    def caller(self, request: plait.Request) -> str:
        """Whose request it is. Those that tell nothing of themselves are one caller."""
        peer = request.peer
        match self.key:
            case "all":
                return ""
            case "identity":
                return peer.identity or ""
            case "namespace":
                return peer.namespace or ""
            case "address":
                return (peer.address or "").rpartition(":")[0]
            case "header":
                return request.headers.get(self.of, "")
            case "claim":
                return str(request.claims.get(self.of, ""))
