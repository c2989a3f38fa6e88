"""Only what an OpenAPI document describes gets through: `OpenApi` is the plugin."""

from plait_openapi.plugin import OpenApi

__all__ = ["OpenApi"]
