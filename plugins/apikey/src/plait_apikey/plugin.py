"""The plugin: who holds a key may call, and only what the key's scopes open. Fails closed in every case.

Loaded by a plugin worker through the entry point `apikey`. It must never log a key, nor let one reach the backend.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import plait_sdk as plait
from pydantic import Field, model_validator

from plait_apikey.keys import Key, digest


class Rule(plait.PluginConfig):
    """What a part of the service asks for. The first rule that names a path and method counts."""

    path: str = Field("/", description="the segment prefix: itself and all below", pattern="^/")
    methods: list[str] = Field(default_factory=list, description="empty = all")
    scopes: list[str] = Field(default_factory=list, description="the key must have each of them")

    def names(self, path: str, method: str) -> bool:
        """Whether a request is this rule's."""
        prefix = self.path.rstrip("/")
        inside = not prefix or path == prefix or path.startswith(prefix + "/")
        return inside and (not self.methods or method in self.methods)


class Config(plait.PluginConfig):
    """What a user writes in `spec.config`."""

    header: str = Field("x-api-key", description="the request header that carries the key", min_length=1)
    keys: list[Key] = Field(description="who may call; only digests of keys stand here")
    rules: list[Rule] = Field(
        default_factory=list, description="scopes by path and method; what no rule names needs a key alone"
    )
    forward: str = Field("x-api-client", description='the header that tells the backend the key\'s name; "" = none')

    @model_validator(mode="after")
    def _are_different(self) -> "Config":
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two keys have the same {field}, {twice}: give each its own")
        return self


def _written(config: Config) -> set[str]:
    return {config.header, config.forward} - {""}


class ApiKey(plait.Plugin[Config]):
    """Lets those pass who hold a key, and only where the key's scopes say."""

    reads = plait.Reads(method=True, path=True, headers=lambda config: {config.header})
    writes = plait.Writes(headers=_written)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # Found by digest: how long that takes says nothing of the key, whose digest nobody can choose.
        self._keys = {key.sha256: key for key in config.keys}

    @plait.hookimpl
    def authenticate(self, request: plait.Request) -> Mapping[str, Any] | plait.Verdict:
        """401 without a key that is known and still valid."""
        config = self.config
        given = request.headers.all(config.header)
        if config.forward and config.forward in request.headers:
            # Only we say who it is.
            del request.headers[config.forward]
        if len(given) != 1:
            return self._refusal(f"{len(given)} API keys: send one in {config.header}")
        key = self._keys.get(digest(given[0]))
        if key is None or key.is_over(datetime.now(UTC)):
            # Which of the two it was is for the holder of the key to know.
            return self._refusal("unknown or expired API key")
        del request.headers[config.header]
        if config.forward:
            request.headers[config.forward] = key.name
        return {"sub": key.name, "scopes": key.scopes}

    @plait.hookimpl
    def authorize(self, request: plait.Request) -> plait.Verdict | None:
        """403 where the key lacks a scope that the rule asks for."""
        rule = next((rule for rule in self.config.rules if rule.names(request.path, request.method)), None)
        missing = sorted(set(rule.scopes) - set(request.claims.get("scopes", []))) if rule else []
        return plait.Deny(f"the API key lacks the scope {', '.join(missing)}") if missing else None

    def _refusal(self, why: str) -> plait.Reply:
        headers = {"www-authenticate": f'ApiKey header="{self.config.header}"', "content-type": "text/plain"}
        return plait.Reply(401, headers, f"{why}\n")
