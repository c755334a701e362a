"""Numbers, times and text of strangers as words for people."""

from __future__ import annotations

from datetime import UTC, datetime

from chunkflow_worker.report.plain import plain
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.scrub import scrub

LONGEST = 2000  # characters of a text
_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def safe(text: str, most: int = LONGEST) -> str:
    """Text of a record without secrets, what acts on a terminal, and more than some characters.

    It is still text, and not HTML.
    """
    cut = text[:most]
    more = f"... ({len(text):,} characters)" if len(text) > most else ""
    return plain(scrub(cut)) + more


def brief(text: str, most: int = 160) -> str:
    """The beginning of a text, as `safe` gives it."""
    return safe(text[:most]) + ("..." if len(text) > most else "")


def amount(value: float, unit: str) -> str:
    """A number with three digits and a unit, for example 1.23 Gvoxel."""
    for factor, prefix in _UNITS:
        if value >= factor:
            return f"{_three(value / factor)} {prefix}{unit}"
    return f"{_three(value)} {unit}"


def seconds(value: float | None) -> str:
    """For example 0.25 s, 12.3 s or 5 min 10 s."""
    if value is None:
        return "unknown"
    if value < 0.0005:
        return "0 s"
    return f"{_three(value)} s" if value < 100 else duration_text(value)


def hours(value: float | None) -> str:
    return "unknown" if value is None else f"{_three(value)} h"


def share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def dollars(value: float | None) -> str:
    if value is None:
        return "unknown"
    if value and value < 0.01:
        return f"${value:.2g}"
    return f"${value:,.0f}" if value >= 1000 else f"${value:.2f}"


def moment(value: float) -> str:
    """Seconds since 1970 as a time of day, in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if value else ""


def period(first: float, last: float) -> str:
    """From one time to another, in UTC, to the minute; the day once if it is the same."""
    start, stop = (datetime.fromtimestamp(at, UTC) for at in (first, last))
    end = "%H:%M" if start.date() == stop.date() else "%Y-%m-%d %H:%M"
    return f"{start:%Y-%m-%d %H:%M} to {stop:{end}} UTC"


def size(values: tuple[float, ...]) -> str:
    """For example 64 x 256 x 256, with the sign for times."""
    return " × ".join(f"{value:g}" for value in values)  # noqa: RUF001


def plural(count: int, thing: str, things: str = "") -> str:
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3g}"
