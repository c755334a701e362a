"""`plain`: text of strangers, made harmless for a terminal or a log."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1, what turns the direction of text or ends a line in Unicode,
# and halves of characters, which can't be written.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)


def plain(text: str) -> str:
    """`text` with control characters as escapes, for example ``\\x1b``; lines stay lines."""
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    """The same, and line breaks as ``\\n``."""
    return plain(text).replace("\n", "\\n")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
