"""Somebody else decides: external authorization over HTTP, gRPC or OPA's API. `ExtAuthz` is the plugin."""

from plait_extauthz.plugin import ExtAuthz

__all__ = ["ExtAuthz"]
