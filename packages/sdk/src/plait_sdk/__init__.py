"""What the parts of Plait share: the contract (`plait_sdk.contracts`) and the pattern engine of the data path."""

from plait_sdk._native import check_pattern

__all__ = ["check_pattern"]
