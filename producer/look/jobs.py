"""`job_rows`: all jobs of a ledger, and how far each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.grid import Boxes

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Kind, Ledger


@dataclass(frozen=True)
class JobRow:
    """One job.

    state: running, paused or cancelled, or done when all its boxes are.
    why: the reason of a pause or a cancellation; empty when there is none.
    done, failed: boxes, as in `JobStatus`; None when this version can't read the job's boxes.
    enqueued: when its last part was sent, in ISO 8601.
    """

    job: str
    state: str
    done: int | None
    total: int
    failed: int | None
    queue: str
    enqueued: str
    why: str = ""


def job_rows(ledger: Ledger) -> list[JobRow]:
    """All jobs of a ledger, the oldest first. Raises StorageUnavailable."""
    jobs = ledger.jobs()
    states = dict(ledger.states.read_all(job.job for job in jobs))
    grids = _Grids(ledger)
    boxes = {job.job: grids.add(job) for job in jobs}
    grids.list()
    rows = []
    for job in jobs:
        state, counts = states[job.job], grids.counts(boxes[job.job])
        is_done = counts[0] is not None and counts[0] >= job.tasks
        text = "done" if is_done and state.state == "running" else state.state
        why = "" if state.state == "running" else state.why
        rows.append(
            JobRow(job.job, text, counts[0], job.tasks, counts[1], job.queue, job.enqueued, why)
        )
    return rows


class _Grids:
    """The grids of jobs, many of which may have the same, and which of their boxes have records.

    The ledger is listed once, and a record is looked for in those grids that have its layer.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._grids: dict[Boxes, _Records] = {}
        self._of_layer: dict[str, list[_Records]] = {}

    def add(self, job: JobRecord) -> Boxes | None:
        """The boxes of a job; None when this version can't read them."""
        try:
            boxes = job.boxes()
        except ConfigError:
            return None
        grid = _whole(boxes)
        if grid not in self._grids:
            self._grids[grid] = records = _Records(grid)
            for place in range(grid.grid_size.z):
                self._of_layer.setdefault(grid.edges(0, place), []).append(records)
        return boxes

    def list(self) -> None:
        for name, kind in self._ledger.records_named() if self._grids else ():
            for records in self._of_layer.get(name.partition("_")[0], ()):
                records.add(name, kind)

    def counts(self, boxes: Boxes | None) -> tuple[int | None, int | None]:
        """How many boxes of a job are done, and how many failed; None when they can't be read."""
        if boxes is None:
            return None, None
        records, archived = self._grids[_whole(boxes)], self._ledger.archived(boxes)
        of_job = boxes.marks(0, boxes.last - boxes.first)
        done, failed = (
            int.from_bytes(bits, "little") >> boxes.first & of_job for bits in records.bits
        )
        if archived is not None:
            done |= int.from_bytes(archived.tobytes(), "little") & of_job
        return done.bit_count(), (failed & ~done).bit_count()


def _whole(boxes: Boxes) -> Boxes:
    """The grid of which a job has all boxes or a part."""
    size = boxes.grid_size
    return Boxes(boxes.start, boxes.chunk_size, size, boxes.stop, 0, size.product)


class _Records:
    """Which boxes of a grid have a record of success, and which one of failure: a bit for each."""

    def __init__(self, grid: Boxes):
        self._index_of = BoxIndex(grid).of
        self.bits = bytearray(-(-len(grid) // 8)), bytearray(-(-len(grid) // 8))

    def add(self, name: str, kind: Kind) -> None:
        if kind in ("done", "failed") and (index := self._index_of(name)) is not None:
            self.bits[kind == "failed"][index >> 3] |= 1 << (index & 7)
