"""What a user should know about runs: limits that they reach, and settings that cost work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from producer.send.queue import DAY, DEAD_LETTER_DAYS, RETENTION_DAYS
from producer.simulate.assumptions import Assumptions
from producer.simulate.result import Result


def notes(assumed: Assumptions, results: Sequence[Result]) -> Iterator[str]:
    """One line for each."""
    slow = [r for r in results if r.makespan_seconds > RETENTION_DAYS * DAY]
    if slow:
        yield (
            f"{_workers(slow)}: longer than {RETENTION_DAYS} days, after which SQS deletes the "
            f"messages of a queue that `queue create` made; {DEAD_LETTER_DAYS} days are its limit. "
            "Use more workers, or send the boxes in parts"
        )
    full = [r for r in results if r.was_full]
    if full:
        yield (
            f"{_workers(full)}: places waited because {assumed.in_flight_limit} messages were in "
            "flight, the limit of SQS. Use a second queue, or fewer places"
        )
    dead = [r for r in results if r.dead]
    if dead:
        yield (
            f"{_workers(dead)}: tasks end as dead letters after {assumed.max_receives} receives; "
            "`queue create --max-receives` allows more"
        )
    cut = [r for r in results if r.cut]
    if cut and assumed.drain and assumed.grace_seconds < min(mean(cut), assumed.notice_seconds / 2):
        yield (
            f"after a notice, tasks have {assumed.grace_seconds:g} s to finish, and take "
            f"{mean(cut):.0f} s: a longer CHUNKFLOW_GRACE_SECONDS, up to "
            f"{max(0, assumed.notice_seconds - 15):.0f}, loses less work"
        )


def mean(results: Sequence[Result]) -> float:
    """Seconds of a task that is done, in its place."""
    return sum(r.useful_seconds for r in results) / max(1, sum(r.done for r in results))


def _workers(results: Sequence[Result]) -> str:
    numbers = sorted({result.workers for result in results})
    return f"with {', '.join(map(str, numbers))} worker{'s' * (numbers != [1])}"
