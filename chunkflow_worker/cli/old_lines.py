"""Command lines of older versions: their options before the first operator, and a table of all.

The other words of older versions are facts of the operators, see `Facts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chunkflow_worker.config.catalog import facts_of, operator_names

RENAMED = {
    "-v 0, --verbose 0, -l warning, --log-level warning, -l error, --log-level error, "
    "-l critical, --log-level critical": "--quiet",
    "-v N, --verbose N, -l info, --log-level info, -l debug, --log-level debug": "--verbose",
}
"""Options of older versions for all operators, as in `Facts.renamed`."""

REMOVED = {"-f, --log-file": "the log goes to stderr: end the command line with `2> FILE`"}
"""The same, as in `Facts.removed`."""


@dataclass(frozen=True)
class OldWordRow:
    """Words of older versions that have one answer.

    place: the operator whose options they are; empty for operators, and for options before them.
    old: the words. Numbers after an option are Z, Y, X or N.
    today: what to write today, or what to do instead.
    is_taken: they still work, with a note. Otherwise an error says what to do.
    """

    place: str
    old: tuple[str, ...]
    today: str
    is_taken: bool


def old_operators() -> Iterator[OldWordRow]:
    """The operators of older versions by their names, without those that are called so today."""
    rows = []
    for name in operator_names():
        facts = facts_of(name)
        if facts.formerly:
            rows.append(OldWordRow("", facts.formerly, name, is_taken=True))
        rows.extend(_rows("", facts.replaces, is_taken=False))
    yield from sorted(rows, key=lambda row: row.old)


def old_options() -> Iterator[OldWordRow]:
    """The options of older versions, without those that mean the same today."""
    yield from _rows("", RENAMED, is_taken=True)
    yield from _rows("", REMOVED, is_taken=False)
    for name in operator_names():
        yield from _rows(name, facts_of(name).renamed, is_taken=True)
        yield from _rows(name, facts_of(name).removed, is_taken=False)


def _rows(place: str, facts: Mapping[str, str], is_taken: bool) -> Iterator[OldWordRow]:
    for old, today in facts.items():
        yield OldWordRow(place, tuple(old.split(", ")), today, is_taken)
