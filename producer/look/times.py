"""`look_at_times`: compares when blocks were stored with what a record says, and reads none.

Workers note the times that storage gives the blocks, and these are compared with those of today, so
no clock of a worker matters. Earlier versions did not; of their records, `look_at_age` compares the
times with the worker's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.absent import Absent
from producer.look.findings import Findings

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record, Written

CLOCKS_APART = timedelta(seconds=60)  # the largest difference that is taken to be of the clocks
_OLDER = "older than what their task wrote"
_OLDER_BY_CLOCK = "older than their task, by the worker's clock"
_AGAIN = "written again after the record; verify without --quick reads and compares them"
_NO_TIMES = "storage keeps no times; verify without --quick reads and compares them"


def stored_between(written: Written) -> tuple[datetime, datetime] | None:
    """When the first and the last block were stored, if the record says it.

    The first as a whole second, since copies and archives may keep no more.
    """
    times = [time for time in map(_parsed, written.stored) if time is not None]
    return (times[0].replace(microsecond=0), times[1]) if len(times) == 2 else None


def look_at_times(
    findings: Findings,
    blocks: Iterable[BoundingBox],
    absent: Absent,
    first: datetime,
    last: datetime,
) -> list[BoundingBox]:
    """Find blocks that are missing, or not stored between two times. Returns the others.

    Those that are absent and right are in `absent`.
    """
    right = []
    for block, time in _times(findings, blocks, absent):
        if time is None:
            findings.add("not-checked", block, _NO_TIMES)
        elif time < first:
            findings.add("stale", block, _OLDER)
        elif time > last:
            findings.add("not-checked", block, _AGAIN)
        else:
            right.append(block)
    return right


def look_at_age(
    findings: Findings, record: Record, blocks: Iterable[BoundingBox], absent: Absent
) -> list[BoundingBox]:
    """Find blocks that are missing, or older than their task. Returns the others, as above."""
    started = _parsed(record.started)
    right = []
    for block, time in _times(findings, blocks, absent):
        if started is not None and time is not None and time < started - CLOCKS_APART:
            findings.add("stale", block, _OLDER_BY_CLOCK)
        else:
            right.append(block)
    return right


def _parsed(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _times(
    findings: Findings, blocks: Iterable[BoundingBox], absent: Absent
) -> Iterator[tuple[BoundingBox, datetime | None]]:
    """When the blocks that are stored were stored; None where storage keeps no times."""
    volume, blocks = findings.volume, list(blocks)

    def look(some: list[BoundingBox]) -> list[tuple[BoundingBox, tuple[bool, datetime | None]]]:
        times = volume.stored_at(some, findings.listed)
        names = ((block, volume.block_name(block)) for block in some)
        return [(block, (name in times, times.get(name))) for block, name in names]

    found = findings.readable(blocks, lambda: look(blocks), lambda block: look([block])[0][1])
    not_stored = []
    for block, (is_stored, time) in found:
        if is_stored:
            yield block, time
        else:
            not_stored.append(block)
    for _ in findings.readable(not_stored, None, absent.read):
        pass  # what cannot be read as the task wrote it is a finding now
