"""Copies the first segment of the path into a header."""

import plait_sdk as plait
from pydantic import Field


class Config(plait.PluginConfig):
    """`spec.config` of the Plugin."""

    header: str = Field("x-tenant", description="The header that is set.")


class TenantFromPath(plait.Plugin[Config]):
    """Copies the first segment of the path into a header."""

    reads = plait.Reads(path=True)
    writes = plait.Writes(headers=lambda config: {config.header})

    @plait.hookimpl
    def on_request(self, request: plait.Request) -> None:
        """Runs before the request goes to the backend."""
        request.headers[self.config.header] = request.path.split("/")[1]
