"""Whose request it was, in metrics and traces: `TenantLabels` is the plugin."""

from plait_tenant_labels.plugin import TenantLabels

__all__ = ["TenantLabels"]
