"""Copies the first segment of the path into a header.

A plugin for the service mesh Plait; `plugin` holds it.
"""

from plait_tenant_from_path.plugin import Config, TenantFromPath

__all__ = ["Config", "TenantFromPath"]
