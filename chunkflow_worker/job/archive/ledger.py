"""`ArchivedLedger`: a ledger whose records may lie in archives. A record of its own comes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import ValidationError

from chunkflow_worker.job.archive.archives import Archives
from chunkflow_worker.job.ledger import RECORD_BYTES, Ledger, Listing
from chunkflow_worker.job.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.grid import Boxes

_AT_ONCE = 500  # records that are asked for


class ArchivedLedger(Ledger):
    """See `Ledger`. The producer reads a job by it; workers need no archive.

    Methods also raise ConfigError for an archive that is damaged.
    """

    def __init__(self, path: str, *, to_write: bool = False):
        super().__init__(path, to_write=to_write)
        self.archives = Archives(self.path)

    def archived(self, boxes: Boxes) -> NDArray[np.uint8] | None:
        self.archives.refresh()
        return self.archives.marks(boxes)

    def archived_records(self, boxes: Iterable[str]) -> Iterator[tuple[Record, str]]:
        for box, text in self.archives.texts(boxes):
            record = _record(box, text)
            if record is not None:
                yield record, text

    def listing(self) -> Listing:
        own = super().listing()
        done = own.done | {box for box, _ in self.archives.all_texts()}
        beside = self.files.list()
        again = {name.removesuffix(".again.json") for name in beside} & done
        late = {name.removesuffix(".late.json") for name in beside} & done
        return Listing(done, own.failed - done, again, late)

    def remove(self, bbox: BoundingBox | str) -> None:
        if any(True for _ in self.archives.texts([str(bbox)])):
            self.archives.make_void(str(bbox))
        super().remove(bbox)

    def _records(self, boxes: Iterable[str], suffix: str) -> Iterator[Record]:
        if suffix:
            yield from super()._records(boxes, suffix)
            return
        remaining = iter(boxes)
        while batch := list(islice(remaining, _AT_ONCE)):
            found = {record.bbox: record for record in super()._records(batch, suffix)}
            missing = [box for box in batch if box not in found]
            found |= {record.bbox: record for record, _ in self.archived_records(missing)}
            yield from (found[box] for box in dict.fromkeys(batch) if box in found)


def _record(box: str, text: str) -> Record | None:
    """None for what is no record of success of this box."""
    try:
        record = Record.model_validate_json(text) if len(text) <= RECORD_BYTES else None
    except ValidationError:
        return None
    is_of_box = record is not None and record.bbox == box and record.state != "failed"
    return record if is_of_box else None
