"""`NewFailures`: boxes of a job that have failed since the last look."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from chunkflow_worker.report.progress import boxes_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record

_READ, _SHOWN = 50, 3  # records of one look; failures that are told
_MOST_TEXT = 200  # characters of an error


class NewFailures:
    """Reads the records of boxes that were not failed at the last look; of very many, only some."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._known: frozenset[str] = frozenset()

    def look(self, failed: Iterable[str]) -> list[str]:
        """A line for each of the last failures, after their number where there are more of them.

        failed: the boxes that are failed now. Raises StorageUnavailable.
        """
        before, self._known = self._known, frozenset(failed)
        new = sorted(self._known - before)
        records = self._ledger.records(new[:_READ], failed=True)
        shown = nlargest(_SHOWN, records, key=lambda record: record.finished)
        lines = [_line(record) for record in reversed(shown)]
        if 0 < len(shown) < len(new):
            return [f"failed: {boxes_text(len(new))}, among them:", *lines]
        return lines


def _line(record: Record) -> str:
    error = record.error[:_MOST_TEXT] + ("..." if len(record.error) > _MOST_TEXT else "")
    fate = "given up" if record.final else "will be tried again"
    return f"failed: box {record.bbox}, attempt {record.attempts}, {fate}: {error}"
