"""`VolumeCheck`: compares what is in volumes and arrays with what a record says of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from chunkflow_worker.errors import (
    BlockDamaged,
    ConfigError,
    DataMissing,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.listed_objects import ListedObjects, listing_of
from producer.look.absent import Absent
from producer.look.findings import Findings, first_line
from producer.look.left_last import Part, RecordMismatch, left_last
from producer.look.problem import Problem
from producer.look.tally import BY_WORKERS_CLOCK, COMPARED, EMPTY, FILLED, FOUND, Tally
from producer.look.times import look_at_age, look_at_times, stored_between
from producer.look.volumes import Source, Volumes
from producer.look.voxels import look_at_voxels, look_for_leftovers

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record, Written
    from chunkflow_worker.volumes.volume import CheckedVolume

_TWO_FILES = "stored twice, as a plain file and as *.gz, so readers may disagree: do the box again"
_NO_CHECKSUM = "an earlier version recorded no checksum for them"


class VolumeCheck:
    """Checks what a record says of precomputed volumes, and of arrays of Zarr and N5.

    Several threads may use it.

    source: the input of the job; without it, no zero block is reported.
    quick: compare times instead of voxels; only places that must be empty are read.
    allow_zeros: do not report zero blocks that a task itself wrote as zero.
    """

    def __init__(self, source: Source | None, tally: Tally, *, quick: bool, allow_zeros: bool):
        self._source, self._tally = source, tally
        self._quick, self._allow_zeros = quick, allow_zeros
        self._volumes, self._lists = Volumes(), False
        self._lock = Lock()
        self._listed: dict[tuple[str, int], ListedObjects | None] = {}

    def list_blocks(self) -> None:
        """List the blocks of volumes, where storage lists their times, and ask for none of them."""
        self._lists = self._quick

    def holds(self, record: Record) -> bool:
        """Whether the record says anything of volumes."""
        return bool(record.written)

    def problems(self, record: Record) -> Iterator[Problem]:
        """What is wrong, or not known.

        Raises ConfigError when a volume does not exist, and StorageUnavailable when nothing of it
        can be read.
        """
        levels: dict[tuple[str, int], list[Written]] = {}
        for written in record.written:
            levels.setdefault((written.volume, written.mip), []).append(written)
        for (path, mip), writes in levels.items():
            try:
                first = writes[0]
                volume = self._volumes.open(path, mip, driver=first.driver, order=first.order)
                parts = left_last(volume, writes)
            except RecordMismatch as error:
                yield Problem(record.bbox, "stale", path, detail=str(error))
                continue
            except (ConfigError, DataMissing) as error:
                if all(written.empty for written in writes):
                    continue  # nothing is stored in a level that does not exist
                if isinstance(error, ConfigError):
                    raise
                yield Problem(record.bbox, "missing", path, detail=str(error))
                continue
            for part in parts:
                yield from self._look(record, part)

    def _look(self, record: Record, part: Part) -> Iterator[Problem]:
        written = part.written
        volume = self._volumes.open(
            written.volume, written.mip, written.empty, written.driver, written.order
        )
        findings = Findings(record.bbox, volume, self._listing(volume))
        filled = partial(
            self._volumes.open, written.volume, written.mip, True, written.driver, written.order
        )
        absent = Absent(part, filled)
        if written.empty:
            self._tally.add(EMPTY, len(look_for_leftovers(findings, part)))
        elif not self._quick:
            self._read(record, findings, part, absent)
        elif times := stored_between(written):
            self._tally.add(FOUND, len(look_at_times(findings, part.blocks, absent, *times)))
        else:
            right = look_at_age(findings, record, part.blocks, absent)
            self._tally.add(BY_WORKERS_CLOCK, len(right))
        if not written.empty:
            _look_for_second_files(findings, part)
        self._tally.add(FILLED, len(absent.found))
        yield from findings.problems()
        if written.nan and not self._quick:
            detail = f"{written.nan} voxels were NaN before they became integers"
            yield Problem(record.bbox, "nan", volume.path, detail=detail)

    def _listing(self, volume: CheckedVolume) -> ListedObjects | None:
        if not self._lists:
            return None
        key = (volume.path, volume.mip)
        if key not in self._listed:
            with self._lock:
                self._listed.setdefault(key, listing_of(volume.path, volume.prefixes()))
        return self._listed[key]

    def _read(self, record: Record, findings: Findings, part: Part, absent: Absent) -> None:
        has_input = partial(self._has_input, findings)
        compared, unknown = look_at_voxels(findings, part, absent, has_input, self._allow_zeros)
        self._tally.add(COMPARED, len(compared) - len(absent.found))
        for block in look_at_age(findings, record, unknown, absent) if unknown else ():
            findings.add("not-checked", block, _NO_CHECKSUM)

    def _has_input(self, findings: Findings, block: BoundingBox) -> bool:
        if self._source is None:
            return False
        try:
            return self._source.has_values(self._volumes, block, findings.volume)
        except (BlockDamaged, StorageUnavailable) as error:
            detail = f"zero, and the input that may explain it can't be read: {first_line(error)}"
            findings.add("unreadable", block, detail)
            return False


def _look_for_second_files(findings: Findings, part: Part) -> None:
    from chunkflow_worker.storage.path import local_folder
    from chunkflow_worker.volumes.precomputed.local import has_both_forms

    folder = local_folder(findings.volume.path)
    if folder is None or part.written.driver:
        return
    for block in part.blocks:
        if has_both_forms(f"{folder}/{findings.volume.block_name(block)}"):
            findings.add("stale", block, _TWO_FILES)
