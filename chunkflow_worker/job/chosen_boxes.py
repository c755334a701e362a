"""`ChosenBoxes`: the boxes of a grid that belong to a job, where a mask leaves others out."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, islice

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.job.grid import Boxes

_PAGE = 1 << 16  # boxes that are counted together
_ONES = np.array([n.bit_count() for n in range(256)], np.uint8)


@dataclass(frozen=True)
class ChosenBoxes(Boxes):
    """A part of the boxes of a grid, in the same order, with a bit of memory for each of the grid.

    Indices count the chosen boxes alone. bits: of those from `first` to `last`, packed.
    """

    bits: bytes

    def whole_grid(self) -> Boxes:
        return Boxes(self.start, self.chunk_size, self.grid_size, self.stop, self.first, self.last)

    @classmethod
    def of(cls, boxes: Boxes, chosen: NDArray[np.bool_]) -> ChosenBoxes:
        """chosen: whether each of the boxes is."""
        if len(chosen) != len(boxes):
            raise ValueError(f"{len(chosen)} marks are not for {len(boxes)} boxes")
        return cls(**vars(boxes), bits=np.packbits(chosen).tobytes())

    @classmethod
    def from_text(cls, boxes: Boxes, text: str) -> ChosenBoxes:
        """Read the text form. Raises ValueError."""
        size = -(-len(boxes) // 8)
        unpacker = zlib.decompressobj()
        try:
            bits = unpacker.decompress(base64.b64decode(text, validate=True), size + 1)
        except zlib.error as error:
            raise ValueError(f"the marks of its boxes can't be read: {error}") from None
        if len(bits) != size:
            raise ValueError(f"the marks of its boxes are not for {len(boxes)} boxes")
        unused = np.unpackbits(np.frombuffer(bits[-1:], np.uint8))[len(boxes) - size * 8 :]
        if len(boxes) % 8 and unused.any():
            raise ValueError("it marks boxes that the grid does not have")
        return cls(**vars(boxes), bits=bits)

    def text(self) -> str:
        """The marks as short text, for a record."""
        return base64.b64encode(zlib.compress(self.bits, 9)).decode()

    @property
    def chosen(self) -> NDArray[np.bool_]:
        """Whether each box of the grid, from `first` to `last`, is one of these."""
        return self._marks(0, self.last - self.first)

    def __len__(self) -> int:
        return int(self._counts[-1])

    def __iter__(self) -> Iterator[BoundingBox]:
        return map(BoundingBox.parse, self.texts())

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._box(self.task_index(range(len(self))[index]))

    def index_of(self, box: BoundingBox) -> int | None:
        place = super().index_of(box)
        if place is None or not self._marks(place, place + 1)[0]:
            return None
        page = place // _PAGE
        return int(self._counts[page]) + int(self._marks(page * _PAGE, place).sum())

    def task_index(self, index: int) -> int:
        if index >= len(self):
            return self.last
        page = int(np.searchsorted(self._counts, index, side="right")) - 1
        marks = self._marks(page * _PAGE, (page + 1) * _PAGE)
        place = np.flatnonzero(marks)[index - int(self._counts[page])]
        return self.first + page * _PAGE + int(place)

    def texts(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        last = len(self) if last is None else last
        return islice(self._texts_from(first), max(0, last - first))

    def _texts_from(self, index: int) -> Iterator[str]:
        place, end = self.task_index(index) - self.first, self.last - self.first
        while place < end:
            page = place // _PAGE
            stop = min((page + 1) * _PAGE, end)
            if self._counts[page] < self._counts[page + 1]:
                yield from compress(super().texts(place, stop), self._marks(place, stop).tolist())
            place = stop

    def has(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        inside = super().has(indices)
        places = np.where(inside, indices - self.first, 0)
        packed = np.frombuffer(self.bits, np.uint8)
        marks: NDArray[np.bool_] = packed[places >> 3] & (128 >> (places & 7)) != 0
        return inside & marks

    def marks(self, first: int, last: int) -> int:
        bits = np.packbits(self._marks(first, last), bitorder="little")
        return int.from_bytes(bits.tobytes(), "little")

    def _marks(self, first: int, last: int) -> NDArray[np.bool_]:
        last = min(last, self.last - self.first)
        packed = np.frombuffer(self.bits, np.uint8)[first // 8 : -(-last // 8)]
        skipped = first % 8
        return np.unpackbits(packed)[skipped : skipped + last - first].astype(bool)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """The number of chosen boxes before each page, and at the end."""
        packed = np.frombuffer(self.bits, np.uint8)
        ones = _ONES[packed]
        pages = np.add.reduceat(ones, np.arange(0, len(ones), _PAGE // 8), dtype=np.int64)
        return np.concatenate([[0], np.cumsum(pages)])


def named_boxes(boxes: Boxes, names: Iterable[str]) -> ChosenBoxes:
    """The boxes of a job that have one of these names."""
    grid = boxes.whole_grid()
    index, chosen = BoxIndex(grid), np.zeros(len(grid), bool)
    chosen[[place for name in names if (place := index.of(name)) is not None]] = True
    return ChosenBoxes.of(grid, chosen)
