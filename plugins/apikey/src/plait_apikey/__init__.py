"""Authentication by API keys: `ApiKey` is the plugin, `plugin.Config` what it is told."""

from plait_apikey.plugin import ApiKey

__all__ = ["ApiKey"]
