"""Numbers with few digits, so that two reports can be compared."""

from __future__ import annotations

from typing import Any

_DIGITS = 6


def rounded(value: Any) -> Any:
    """A value of JSON whose fractions have six digits at most; whole numbers stay as they are."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
