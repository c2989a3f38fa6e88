"""The access log as OpenTelemetry logs: `AccessLogOtlp` is the plugin."""

from plait_accesslog_otlp.plugin import AccessLogOtlp

__all__ = ["AccessLogOtlp"]
