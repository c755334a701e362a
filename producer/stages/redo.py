"""`forget`: forgets what was done of some stages, so that it is done again."""

from __future__ import annotations

from collections.abc import Iterable

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.storage.files import Files


def forget(ledgers: Iterable[Ledger]) -> None:
    """Delete all records of stages. ledgers: theirs, the last stage first.

    So if this is interrupted, no stage is complete that needs one which is not. What was written
    to volumes stays until tasks write it again. Raises StorageUnavailable.
    """
    for ledger in ledgers:
        Files(ledger.path).clear()
