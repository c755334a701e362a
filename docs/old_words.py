"""Write the tables of words of older versions into the page about moving from chunkflow."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chunkflow_worker.cli.old_lines import OldWordRow, old_operators, old_options

_BEGIN, _END = "<!-- old words: `make docs` writes these tables -->", "<!-- end of old words -->"


def with_old_words(page: str) -> str:
    """Return the page with the tables of today between its two marks."""
    between = re.compile(f"(?<={re.escape(_BEGIN)}\n).*(?={re.escape(_END)})", re.DOTALL)
    written, count = between.subn(lambda _: f"\n{_tables()}\n", page)
    if count != 1:
        raise ValueError(f"the page must hold the mark {_BEGIN!r}, and after it {_END!r}, once")
    return written


def _tables() -> str:
    operators, options = list(old_operators()), list(old_options())
    parts = [
        "Operators that still work, with a note:",
        _table("before | today", (_row(o) for o in operators if o.is_taken)),
        "Operators that end with an error, which says this:",
        _table("before | today", (_row(o) for o in operators if not o.is_taken)),
        "Options that still work, with a note. Z, Y, X and N are numbers:",
        _table("operator | before | today", (_option_row(o) for o in options if o.is_taken)),
        "Options that end with an error, which says this:",
        _table("operator | before | today", (_option_row(o) for o in options if not o.is_taken)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(heading: str, rows: Iterable[str]) -> str:
    rule = " | ".join(["---"] * (heading.count("|") + 1))
    return "\n".join(f"| {line} |" for line in [heading, rule, *rows])


def _option_row(option: OldWordRow) -> str:
    place = f"`{option.place}`" if option.place else "before all operators"
    return f"{place} | {_row(option)}"


def _row(row: OldWordRow) -> str:
    today = f"`{row.today}`" if row.is_taken else row.today
    return f"{', '.join(f'`{old}`' for old in row.old)} | {today}"
