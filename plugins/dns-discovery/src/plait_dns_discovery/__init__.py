"""Endpoints from SRV records of DNS: `DnsDiscovery` is the plugin."""

from plait_dns_discovery.plugin import DnsDiscovery

__all__ = ["DnsDiscovery"]
