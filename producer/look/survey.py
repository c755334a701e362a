"""`Survey`: how far a job is, by listings of its ledger that are repeated only where needed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chunkflow_worker.job.box_index import BoxIndex, Part
from chunkflow_worker.job.grid import Boxes
from producer.look.places import Places, PlacesOfSome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.ledger import Ledger
    from chunkflow_worker.job.record import Record

REQUESTS = 50  # of one look, but the first and the last; a second of work for the processor
_NAMES = 1000  # that a request lists
_IN_PART = 10 * _NAMES
_AT_ONCE = 16  # requests
_ARCHIVED = 10  # records that are read of an archive for a sample


class Found(NamedTuple):
    """Boxes of a job, as `JobStatus` has them."""

    done: int
    failed: int
    twice: int
    late: tuple[str, ...]


class Marks(NamedTuple):
    """Facts of each box of a grid from the first to the last, as arrays of bool.

    of_job: it belongs to the job. own: it has a record of success of its own; done: or an archived
    one. failed: it has a record of failure, and is not done.
    """

    of_job: NDArray[np.bool_]
    own: NDArray[np.bool_]
    done: NDArray[np.bool_]
    failed: NDArray[np.bool_]


class Survey:
    """Looks at the records of a job again and again.

    The first look lists the ledger, in parts of some thousand boxes. Later ones list the parts in
    which boxes are left, those first that were listed longest ago, by at most 50 requests. When
    no box is left, it lists all parts once more, since records may have been removed meanwhile;
    of a job that is complete, later looks list all parts in turn. Archives are looked at each time.

    The memory is some bits for each box. On a local disk each look lists the folder.
    """

    def __init__(self, ledger: Ledger, boxes: Boxes):
        self.boxes = boxes
        self._ledger, self._index = ledger, BoxIndex(boxes)
        whole = Part("", 0, boxes.last - boxes.first)
        parts = [whole] if ledger.files.is_local else self._index.parts(_IN_PART)
        # In the order in which they are listed.
        self._states = [_State(part, boxes.marks(part.start, part.stop)) for part in parts]
        self._is_complete = False

    def look(self) -> Found:
        """Raises StorageUnavailable, and ConfigError for an archive that is damaged."""
        self._add_archived()
        due = self._due()
        self._list(due)
        if not self._is_complete and not self._has_left():
            listed = {state.part for state in due}
            self._list([state for state in self._states if state.part not in listed])
        self._is_complete = not self._has_left()
        return Found(
            sum(state.done.bit_count() for state in self._states),
            sum((state.failed & ~state.done).bit_count() for state in self._states),
            sum(state.twice for state in self._states),
            tuple(sorted(name for state in self._states for name in state.late)),
        )

    def places(self) -> Places:
        """Which boxes have which records, as the last look found them."""
        states = sorted(self._states, key=lambda state: state.part.start)
        return Places(
            self._index.of,
            [state.part.start for state in states],
            [(state.own, state.archived, state.failed) for state in states],
            frozenset(name for state in states for name in state.late),
        )

    def marks(self) -> Marks:
        """What the last look found, by the places of the boxes."""
        states = sorted(self._states, key=lambda state: state.part.start)
        parts = [
            [
                _bools(bits, state.part.stop - state.part.start)
                for bits in (state.of_job, state.own, state.done, state.failed & ~state.done)
            ]
            for state in states
        ]
        return Marks(*map(np.concatenate, zip(*parts, strict=True)))

    def failed(self) -> Iterator[str]:
        """The names of the boxes that failed and are not done."""
        for state in sorted(self._states, key=lambda state: state.part.start):
            for place in _set_bits(state.failed & ~state.done):
                yield self._index.name(state.part.start + place)

    def sample(self, count: int, chance: random.Random = random.Random()) -> list[str]:
        """The names of `count` boxes that are done, or of all of them, at random."""
        states = sorted(self._states, key=lambda state: state.part.start)
        counts = [state.done.bit_count() for state in states]
        chosen = chance.sample(range(sum(counts)), min(count, sum(counts)))
        names, before = [], 0
        for state, number in zip(states, counts, strict=True):
            here = {place - before for place in chosen if before <= place < before + number}
            if here:
                done = enumerate(_set_bits(state.done))
                names += [self._index.name(state.part.start + i) for n, i in done if n in here]
            before += number
        return names

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The records of boxes that are done; of archived ones, those of ten at most.

        Each of these takes a part of the archive with the records of some thousand boxes.
        """
        places = self.places()
        own = [name for name in names if places.of(name).own]
        archived = [name for name in names if not places.of(name).own]
        yield from self._ledger.records(own)
        few = random.sample(archived, min(_ARCHIVED, len(archived)))
        yield from (record for record, _ in self._ledger.archived_records(few))

    def _add_archived(self) -> None:
        bits = self._ledger.archived(self.boxes)
        states = []
        for state in self._states:
            start, stop = state.part.start, state.part.stop
            archived = 0
            if bits is not None:
                part = bits[start >> 3 : -(-stop // 8)].tobytes()
                archived = int.from_bytes(part, "little") >> (start & 7) & state.of_job
            states.append(state._replace(archived=archived))
        self._states = states

    def _due(self) -> list[_State]:
        if not any(state.is_listed for state in self._states):
            return self._states
        due, requests = list[_State](), 0
        for state in self._states:
            if not state.left and not self._is_complete:
                continue
            requests += state.requests
            if due and requests > REQUESTS:
                break
            due.append(state)
        return due

    def _has_left(self) -> bool:
        return any(state.left for state in self._states)

    def _list(self, states: list[_State]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(self._listed, states))
        listed = {state.part for state in states}
        self._states = [state for state in self._states if state.part not in listed] + found

    def _listed(self, state: _State) -> _State:
        start, stop = state.part.start, state.part.stop
        bits = {kind: bytearray(-(-(stop - start) // 8)) for kind in ("done", "failed", "again")}
        names, late, index_of = 0, dict[str, int](), self._index.of
        for name, kind in self._ledger.records_named(state.part.prefix):
            names += 1
            index = index_of(name)
            if index is None or not start <= index < stop:
                continue
            place = index - start
            if kind == "late":
                late[name] = place
            else:
                bits[kind][place >> 3] |= 1 << (place & 7)
        own, failed, again = (
            int.from_bytes(part, "little") & state.of_job for part in bits.values()
        )
        done = own | state.archived
        return state._replace(
            own=own,
            failed=failed,
            twice=(again & done).bit_count(),
            late=tuple(name for name, place in late.items() if done >> place & 1),
            requests=names // _NAMES + 1,
        )


class _State(NamedTuple):
    """What the last listing of a part says.

    of_job, own, archived, failed: a bit for each box of the grid, the lowest for the first; of
        those that belong to the job, that have a record of success of their own, that have one in
        an archive, and that have one of failure.
    requests: that it took; 0 for none yet.
    """

    part: Part
    of_job: int
    own: int = 0
    archived: int = 0
    failed: int = 0
    twice: int = 0
    late: tuple[str, ...] = ()
    requests: int = 0

    @property
    def done(self) -> int:
        return self.own | self.archived

    @property
    def is_listed(self) -> bool:
        return self.requests > 0

    @property
    def left(self) -> int:
        """Boxes that are not done."""
        return (self.of_job & ~self.done).bit_count()


def places_of(ledger: Ledger, boxes: Sequence[BoundingBox]) -> Places | PlacesOfSome:
    """Which of these boxes have which records.

    The memory is some bits for each box of a grid. Raises StorageUnavailable, and ConfigError for
    an archive that is damaged.
    """
    if not isinstance(boxes, Boxes):
        return PlacesOfSome(ledger, [str(box) for box in boxes])
    survey = Survey(ledger, boxes)
    survey.look()
    return survey.places()


def _bools(bits: int, count: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)


def _set_bits(bits: int) -> list[int]:
    return [i for i, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
