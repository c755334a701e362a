"""`Places`: which records the boxes of a job have, by their names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import Ledger

_FEW, _AT_ONCE = 1000, 16  # boxes that are asked for one by one; at the same time


class Place(NamedTuple):
    """Where the records of a box are.

    own, archived: its record of success is an object of its own, is in an archive.
    failed: it has a record of failure.
    """

    own: bool = False
    archived: bool = False
    failed: bool = False

    @property
    def done(self) -> bool:
        return self.own or self.archived


class Places:
    """Those of the boxes of a grid, fast for a million names.

    index_of: the place of a box in the grid. starts: the first place of each part of it.
    bits: of each part, numbers with a bit for each box: see `Place`.
    late: names of boxes that a worker wrote to after its lease.
    """

    def __init__(
        self,
        index_of: Callable[[str], int | None],
        starts: Sequence[int],
        bits: Sequence[tuple[int, int, int]],
        late: frozenset[str],
    ):
        self._index_of, self._starts, self.late = index_of, starts, late
        self._bits = [tuple(map(_bytes, of_part)) for of_part in bits]

    def of(self, name: str) -> Place:
        index = self._index_of(name)
        if index is None:
            return Place()
        part = bisect_right(self._starts, index) - 1
        place, bit = divmod(index - self._starts[part], 8)
        return Place(*(place < len(b) and b[place] >> bit & 1 > 0 for b in self._bits[part]))


class PlacesOfSome:
    """Those of some boxes: a request for each, or a listing of the ledger where they are many.

    Raises StorageUnavailable.
    """

    def __init__(self, ledger: Ledger, names: Sequence[str]):
        wanted = frozenset(names)
        prefixes = [f"{name}." for name in wanted] if len(wanted) <= _FEW else [""]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = {
                one
                for part in pool.map(lambda prefix: [*ledger.records_named(prefix)], prefixes)
                for one in part
                if one[0] in wanted
            }
        archived = {record.bbox for record, _ in ledger.archived_records(names)}
        self._places = {
            name: Place((name, "done") in found, name in archived, (name, "failed") in found)
            for name in wanted
        }
        self.late = frozenset(name for name, kind in found if kind == "late")

    def of(self, name: str) -> Place:
        return self._places.get(name, Place())


def _bytes(bits: int) -> bytes:
    return bits.to_bytes(-(-bits.bit_length() // 8), "little")
