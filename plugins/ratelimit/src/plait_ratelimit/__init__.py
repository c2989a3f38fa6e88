"""Limits of rate that all proxies share: `RateLimit` is the plugin."""

from plait_ratelimit.plugin import RateLimit

__all__ = ["RateLimit"]
