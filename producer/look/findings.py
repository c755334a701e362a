"""`Findings`: what is found of the blocks of one part of a volume, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from chunkflow_worker.errors import (
    BlockDamaged,
    DataMissing,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import Files
from producer.look.problem import KINDS, Kind, Problem

if TYPE_CHECKING:
    from chunkflow_worker.storage.listed_objects import ListedObjects
    from chunkflow_worker.volumes.volume import CheckedVolume

_Found = TypeVar("_Found")
_FAILURES = 3  # in a row, each after many attempts: then the rest of the part is not tried
_NOT_TRIED = "not tried, since storage failed for those before"


class Findings:
    """The blocks of a volume in which something was found, by kind and detail.

    box: of the task. listed: the objects of the volume, if they were listed.
    """

    def __init__(self, box: str, volume: CheckedVolume, listed: ListedObjects | None = None):
        self._box, self.volume, self.listed = box, volume, listed
        self._blocks: dict[tuple[Kind, str], list[str]] = {}

    def add(self, kind: Kind, block: BoundingBox, detail: str = "") -> None:
        self._blocks.setdefault((kind, detail), []).append(self.volume.block_name(block))

    def problems(self) -> Iterator[Problem]:
        """What was found, in the order of `KINDS`."""
        kinds = list(KINDS)
        for kind, detail in sorted(self._blocks, key=lambda found: kinds.index(found[0])):
            blocks = self._blocks[kind, detail]
            yield Problem(self._box, kind, self.volume.path, tuple(blocks), detail)

    def readable(
        self,
        blocks: Iterable[BoundingBox],
        read_all: Callable[[], list[tuple[BoundingBox, _Found]]] | None,
        read_one: Callable[[BoundingBox], _Found],
    ) -> Iterator[tuple[BoundingBox, _Found]]:
        """What is read of the blocks. Those that cannot be read become findings.

        read_all: reads all blocks by few requests; None to read them one by one.
        Raises StorageUnavailable when the volume as a whole does not answer.
        """
        if read_all is not None:
            try:
                found = read_all()
            except (DataMissing, BlockDamaged):
                pass
            except StorageUnavailable:
                self._check_answers()
            else:
                yield from found
                return
        failures = 0
        for block in blocks:
            if failures == _FAILURES:
                self.add("unreadable", block, _NOT_TRIED)
                continue
            try:
                one = read_one(block)
            except DataMissing:
                self.add("missing", block)
            except BlockDamaged:
                self.add("damaged", block)
            except StorageUnavailable as error:
                self._check_answers()
                reason = first_line(error).removeprefix(f"{self.volume.path}: ")
                self.add("unreadable", block, reason)
                failures = 0 if isinstance(error, StorageRefused) else failures + 1
            else:
                failures = 0
                yield block, one

    def _check_answers(self) -> None:
        """Raise StorageUnavailable unless storage answers, if only for the volume's info."""
        Files(self.volume.path).get("info")


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
