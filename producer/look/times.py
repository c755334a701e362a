"""`look_at_times`: compares when blocks were stored with what a record says, and reads none.

Workers note the times that storage gives the blocks, and these are compared with those of today, so
no clock of a worker matters. Earlier versions did not; of their records, `look_at_age` compares the
times with the worker's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.findings import Findings
from producer.look.left_last import Part

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Record

CLOCKS_APART = timedelta(seconds=60)  # the largest difference that is taken to be of the clocks
_OLDER = "older than what their task wrote"
_OLDER_BY_CLOCK = "older than their task, by the worker's clock"
_AGAIN = "written again after the record; verify without --quick reads and compares them"
_NO_TIMES = "storage keeps no times; verify without --quick reads and compares them"


def look_at_times(findings: Findings, part: Part) -> list[BoundingBox]:
    """Find blocks that are missing, or not of the times in the record. Returns the others."""
    first, last = map(datetime.fromisoformat, part.written.stored)
    right = []
    for block, time in _times(findings, part.blocks):
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
    findings: Findings, record: Record, blocks: Iterable[BoundingBox]
) -> list[BoundingBox]:
    """Find blocks that are missing, or older than their task. Returns the others."""
    started = datetime.fromisoformat(record.started) - CLOCKS_APART if record.started else None
    right = []
    for block, time in _times(findings, blocks):
        if started is not None and time is not None and time < started:
            findings.add("stale", block, _OLDER_BY_CLOCK)
        else:
            right.append(block)
    return right


def _times(
    findings: Findings, blocks: Iterable[BoundingBox]
) -> Iterator[tuple[BoundingBox, datetime | None]]:
    """When the blocks that are stored were stored; None where storage keeps no times."""
    volume, blocks = findings.volume, list(blocks)

    def look(some: list[BoundingBox]) -> list[tuple[BoundingBox, tuple[bool, datetime | None]]]:
        times = volume.stored_at(some)
        names = ((block, volume.block_name(block)) for block in some)
        return [(block, (name in times, times.get(name))) for block, name in names]

    found = findings.readable(blocks, lambda: look(blocks), lambda block: look([block])[0][1])
    for block, (is_stored, time) in found:
        if is_stored:
            yield block, time
        else:
            findings.add("missing", block)
