"""Times of records as numbers, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record


def span_of(record: Record) -> tuple[float, float] | None:
    """When a task started and finished, in seconds since 1970; None where a record lacks it."""
    if not record.started or not record.finished:
        return None
    times = record.started, record.finished
    start, stop = (datetime.fromisoformat(text).timestamp() for text in times)
    return start, max(start, stop)


def moment_text(seconds: float) -> str:
    """The time in UTC and ISO 8601, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
