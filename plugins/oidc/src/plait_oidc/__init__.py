"""Login by OpenID Connect in front of a service: `Oidc` is the plugin."""

from plait_oidc.plugin import Oidc

__all__ = ["Oidc"]
