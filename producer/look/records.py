"""`records_of_job`: the record of each box of a job, from the ledger and its archives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record
    from producer.look.places import Places

_AT_ONCE = 5000


def records_of_job(ledger: Ledger, boxes: Boxes, places: Places) -> Iterator[Record]:
    """The records of a job, one for each box: of its success, or else of its last failure.

    places: of all boxes, see `Survey`. They are read once, in the order of the boxes but for some
    thousand at a time, and the memory is that of some thousand.
    Raises StorageUnavailable, and ConfigError for a damaged archive.
    """
    names = boxes.texts()
    while batch := list(islice(names, _AT_ONCE)):
        found = [(name, places.of(name)) for name in batch]
        yield from ledger.records(name for name, place in found if place.own)
        archived = (name for name, place in found if place.archived and not place.own)
        yield from (record for record, _ in ledger.archived_records(archived))
        failed = (name for name, place in found if place.failed and not place.done)
        yield from ledger.records(failed, failed=True)
