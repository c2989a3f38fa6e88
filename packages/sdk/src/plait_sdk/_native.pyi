"""The native half of the SDK: the data path's own engine, for Python."""

__all__ = ["check_pattern"]

def check_pattern(source: str) -> None:
    """Compiles a pattern exactly as the proxy does, and forgets it.

    Raises:
        ValueError: the proxy would refuse the pattern; the message says why.
    """
