"""`cause_of`: the cause of a failure, the same for all tasks that failed for it."""

from __future__ import annotations

import re

from chunkflow_worker.report.plain import one_line

ERROR_LENGTH = 2000
"""Characters that are kept of an error."""

_BOX = re.compile(r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+")
_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+\b|\d+(\.\d+)?")


def cause_of(error: str) -> str:
    """An error text on one line, without its boxes and numbers, which differ from task to task."""
    return _NUMBER.sub("#", _BOX.sub("<box>", one_line(error[:ERROR_LENGTH])))
