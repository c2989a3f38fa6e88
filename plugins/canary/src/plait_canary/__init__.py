"""Sticky canary releases: `Canary` is the plugin."""

from plait_canary.plugin import Canary

__all__ = ["Canary"]
