"""Generated from proto/check.proto."""
