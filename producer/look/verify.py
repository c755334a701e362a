"""`verify`: compares the output in storage with the records of the tasks that wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from chunkflow_worker.errors import StorageRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.in_order import in_order, in_order_if_waiting
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.job.written_paths import WrittenPaths
from producer.look.faulty import UNREADABLE, fault_of
from producer.look.file_check import FileCheck
from producer.look.findings import first_line
from producer.look.nets import Nets, has_file
from producer.look.problem import Problem
from producer.look.survey import places_of
from producer.look.tally import Tally
from producer.look.volume_check import VolumeCheck

if TYPE_CHECKING:
    from producer.look.places import Place, Places, PlacesOfSome
    from producer.look.volumes import Source

_BATCH = 500  # records that are read at once
_BATCHES = 4  # of records, at the same time
_MANY = 1000  # boxes, of which it is worth while to list their blocks
_FAILED_RECORDS = 3  # in a row, each after many attempts, that are taken for an outage
_UNREADABLE_BOXES = 50  # in a row, that are taken for an outage


class Check(Protocol):
    """Checks one kind of output. Several threads may use it."""

    def holds(self, record: Record) -> bool:
        """Whether the record says anything of this kind of output."""

    def problems(self, record: Record) -> Iterator[Problem]:
        """What is wrong, or not known, with what the record says.

        Raises StorageUnavailable when nothing can be read, and ConfigError.
        """


class Verifier:
    """Checks the output of tasks by their records. Several threads may use it.

    pipeline: the digest that the records must have; any digest when empty.
    net: the digest of a file that the boxes must come from; any file when empty.
    source, allow_zeros, quick: see `VolumeCheck`.
    paths: that records may name; without them, any volume and no file.
    nets: of the boxes that were checked. tally: of what was compared.
    right_though_late: boxes that are right although a worker wrote to them after its lease.
    """

    def __init__(
        self,
        pipeline: str = "",
        source: Source | None = None,
        *,
        quick: bool = False,
        allow_zeros: bool = False,
        net: str = "",
        paths: WrittenPaths | None = None,
    ):
        self._pipeline, self._net, self._paths = pipeline, net, paths
        self.nets, self.tally = Nets(), Tally()
        self.right_though_late: list[str] = []
        self.quick = quick
        self._volumes = VolumeCheck(source, self.tally, quick=quick, allow_zeros=allow_zeros)
        self._files = FileCheck(paths or WrittenPaths(()), self.tally, quick=quick)
        self._checks: tuple[Check, ...] = (self._volumes, self._files)

    def expect_many(self) -> None:
        """List what is in storage once, where that tells enough, and ask for no single object."""
        self._volumes.list_blocks()
        self._files.list_files()

    def check(self, record: Record) -> list[Problem]:
        """What is wrong, or not known, with the output of a task that is recorded as done.

        Raises StorageUnavailable, and ConfigError when a volume does not exist.
        """
        if self._pipeline and record.pipeline and record.pipeline != self._pipeline:
            detail = f"done by job {record.job} with another pipeline, {record.pipeline}"
            return [Problem(record.bbox, "stale", detail=detail)]
        self.nets.add(record)
        if self._net and record.models and not has_file(record, self._net):
            detail = f"done with another net or plugin, {', '.join(record.models.values())}"
            return [Problem(record.bbox, "stale", detail=detail)]
        if self._paths is not None and (fault := fault_of(record, self._paths)):
            return [fault]
        checks = [check for check in self._checks if check.holds(record)]
        problems = [problem for check in checks for problem in check.problems(record)]
        return [*problems, *self._unknown(record, is_checked=bool(checks))]

    def _unknown(self, record: Record, *, is_checked: bool) -> Iterator[Problem]:
        """What the record says nothing of. is_checked: it says something of the rest."""
        for label in record.unchecked:
            self.tally.add(f"boxes where the output of {label} is not checked")
        for label in record.unseen:
            self.tally.add(f"boxes where {label} may have written files, which are not checked")
        if is_checked and not (record.unchecked or record.unseen):
            return
        parts = [
            f"of {', '.join(record.unchecked)}" if record.unchecked else "",
            f"of {', '.join(record.unseen)}, which may have written files" if record.unseen else "",
            f"skipped: {record.skipped}" if record.state == "skipped" else "",
        ]
        yield Problem(record.bbox, "not-checked", detail="; ".join(filter(None, parts)))


def verify(
    ledger: Ledger, boxes: Sequence[BoundingBox], verifier: Verifier, threads: int = 4
) -> Iterator[list[Problem]]:
    """Yield the problems of every box, in the order of the boxes.

    Holds the voxels of at most `threads` boxes in memory. Raises ConfigError when a volume does not
    exist, and StorageUnavailable when nothing can be read, or nothing of many boxes in a row.
    """
    places = places_of(ledger, boxes)
    if len(boxes) >= _MANY:
        verifier.expect_many()

    def check(found: Record | Problem) -> list[Problem]:
        if isinstance(found, Problem):
            return [found]
        try:
            return verifier.check(found)
        except MemoryError:
            return [Problem(found.bbox, "not-checked", detail="too large for the memory here")]

    def check_all(found: Sequence[Record | Problem]) -> list[list[Problem]]:
        return [check(one) for one in found]

    batches = _with_records(ledger, boxes, places)
    if not verifier.quick:  # which takes long for a box
        batches = ([found] for batch in batches for found in batch)
    run = in_order_if_waiting if verifier.quick else in_order  # decoding frees the interpreter lock
    parts = run(check_all, batches, threads, window=2 * threads, name="verify")
    in_a_row = 0
    results = (problems for part in parts for problems in part)
    for box, problems in zip(boxes, results, strict=True):
        if not problems and places.late and str(box) in places.late:
            verifier.right_though_late.append(str(box))
        unreadable = [problem for problem in problems if problem.kind == "unreadable"]
        if unreadable:
            in_a_row += 1
        elif not any(problem.kind in ("no-record", "failed") for problem in problems):
            in_a_row = 0
        if in_a_row > _UNREADABLE_BOXES:
            text = f"{in_a_row} boxes in a row can't be read, and no others are tried; the last"
            raise StorageUnavailable(f"{text}: {unreadable[0].volume}: {unreadable[0].detail}")
        yield problems


def _with_records(
    ledger: Ledger, boxes: Sequence[BoundingBox], places: Places | PlacesOfSome
) -> Iterator[list[Record | Problem]]:
    """The records of success of all boxes, or why there are none, in parts."""
    texts = boxes.texts() if isinstance(boxes, Boxes) else map(str, boxes)

    def read(names: list[str]) -> list[Record | Problem]:
        found = [(name, places.of(name)) for name in names]
        records = _records(ledger, [name for name, place in found if place.own])
        archived = (name for name, place in found if place.archived and not place.own)
        records |= {record.bbox: record for record, _ in ledger.archived_records(archived)}
        return [records.get(name) or _without(name, place) for name, place in found]

    batches = iter(lambda: list(islice(texts, _BATCH)), [])
    return in_order_if_waiting(read, batches, _BATCHES, name="records")


def _without(name: str, place: Place) -> Problem:
    if place.failed and not place.done:
        return Problem(name, "failed")
    return Problem(name, "no-record", detail=UNREADABLE if place.done else "")


def _records(ledger: Ledger, names: list[str]) -> dict[str, Record | Problem]:
    """The records of boxes, or why they cannot be read.

    Raises StorageUnavailable when the ledger as a whole does not answer.
    """
    try:
        return {record.bbox: record for record in ledger.records(names)}
    except StorageUnavailable:
        ledger.jobs()
    found: dict[str, Record | Problem] = {}
    failures = 0
    for name in names:
        try:
            found |= {record.bbox: record for record in ledger.records([name])}
            failures = 0
        except StorageUnavailable as error:
            failures = 0 if isinstance(error, StorageRefused) else failures + 1
            if failures == _FAILED_RECORDS:
                raise
            detail = f"its record: {first_line(error)}"
            found[name] = Problem(name, "unreadable", ledger.path, detail=detail)
    return found
