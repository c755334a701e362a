"""`expiry_line`: when SQS will delete messages that nobody has settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chunkflow_worker.job.sqs import DAY_SECONDS

NEAR = timedelta(seconds=DAY_SECONDS)


def expiry(first_sent: str, retention_seconds: int | None) -> str:
    """When the first messages expire, in UTC and ISO 8601; empty when it is not known.

    first_sent: when the first of them was sent, in ISO 8601.
    """
    try:
        sent = datetime.fromisoformat(first_sent)
    except ValueError:
        return ""
    if retention_seconds is None:
        return ""
    if sent.tzinfo is None:
        sent = sent.replace(tzinfo=UTC)
    return (sent + timedelta(seconds=retention_seconds)).isoformat(timespec="seconds")


def expiry_line(what: str, expires: str, now: datetime | None = None) -> str:
    """A line for messages that expire within a day, or may have expired; else empty.

    what: the messages, for example "messages". expires: see `expiry`.
    """
    if not expires:
        return ""
    now = now or datetime.now(UTC)
    left = datetime.fromisoformat(expires) - now
    if left > NEAR:
        return ""
    if left < timedelta(0):
        return f"SQS has been deleting {what} since {expires}: those are not counted here"
    return f"SQS deletes the first {what} at {expires}, in {left.total_seconds() / 3600:.0f} h"
