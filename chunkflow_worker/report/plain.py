"""`plain`: text of strangers, made harmless for a terminal or a log."""

from __future__ import annotations

_KEPT = "\n\t"


def plain(text: str) -> str:
    """`text` with what is not printable as escapes, for example ``\\x1b``; lines stay lines.

    That is control characters, what turns the direction of text or ends a line in Unicode, halves
    of characters, and characters that Python does not know.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """The same, and line breaks as ``\\n``."""
    return plain(text).replace("\n", "\\n")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
