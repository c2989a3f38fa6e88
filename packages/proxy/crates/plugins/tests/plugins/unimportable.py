"""Fails while it is imported."""

raise ImportError("a library is missing")
