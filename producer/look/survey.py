"""`Survey`: how far a job is, by listings of its ledger that are repeated only where needed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from chunkflow_worker.job.box_index import BoxIndex, Part

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.job.ledger import Ledger

REQUESTS = 50  # of one look, but the first and the last; a second of work for the processor
_NAMES = 1000  # that a request lists
_IN_PART = 10 * _NAMES
_AT_ONCE = 16  # requests


class Found(NamedTuple):
    """Boxes of a job, as `JobStatus` has them."""

    done: int
    failed: int
    twice: int
    late: tuple[str, ...]


class Survey:
    """Looks at the records of a job again and again.

    The first look lists the ledger, in parts of some thousand boxes. Later ones list the parts in
    which boxes are left, those first that were listed longest ago, by at most 50 requests. When
    no box is left, it lists all parts once more, since records may have been removed meanwhile.

    The memory is a bit for each box. On a local disk each look lists the folder.
    """

    def __init__(self, ledger: Ledger, boxes: Boxes):
        self.boxes = boxes
        self._ledger, self._index = ledger, BoxIndex(boxes)
        whole = Part("", 0, boxes.last - boxes.first)
        parts = [whole] if ledger.files.is_local else self._index.parts(_IN_PART)
        # In the order in which they are listed.
        self._states = [_State(part, boxes.marks(part.start, part.stop)) for part in parts]

    def look(self) -> Found:
        """Raises StorageUnavailable."""
        due = self._due()
        self._list(due)
        if not any(state.left for state in self._states):
            listed = {state.part for state in due}
            self._list([state for state in self._states if state.part not in listed])
        return Found(
            sum(state.done.bit_count() for state in self._states),
            sum(state.failed for state in self._states),
            sum(state.twice for state in self._states),
            tuple(sorted(name for state in self._states for name in state.late)),
        )

    def sample(self, count: int) -> list[str]:
        """The names of `count` boxes that are done, or of all of them, at random."""
        counts = [state.done.bit_count() for state in self._states]
        chosen = random.sample(range(sum(counts)), min(count, sum(counts)))
        names, before = [], 0
        for state, number in zip(self._states, counts, strict=True):
            here = {place - before for place in chosen if before <= place < before + number}
            if here:
                done = enumerate(state.indices())
                names += [self._index.name(i) for n, i in done if n in here]
            before += number
        return names

    def _due(self) -> list[_State]:
        if not any(state.is_listed for state in self._states):
            return self._states
        due, requests = list[_State](), 0
        for state in self._states:
            requests += state.requests if state.left else 0
            if due and requests > REQUESTS:
                break
            if state.left:
                due.append(state)
        return due

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
        done, failed, again = (
            int.from_bytes(part, "little") & state.of_job for part in bits.values()
        )
        return _State(
            state.part,
            state.of_job,
            done,
            (failed & ~done).bit_count(),
            (again & done).bit_count(),
            tuple(name for name, place in late.items() if done >> place & 1),
            names // _NAMES + 1,
        )


class _State(NamedTuple):
    """What the last listing of a part says.

    of_job, done: a bit for each box of the grid, the lowest for the first; of those that belong to
        the job, and of those that are done.
    requests: that it took; 0 for none yet.
    """

    part: Part
    of_job: int
    done: int = 0
    failed: int = 0
    twice: int = 0
    late: tuple[str, ...] = ()
    requests: int = 0

    @property
    def is_listed(self) -> bool:
        return self.requests > 0

    @property
    def left(self) -> int:
        """Boxes that are not done."""
        return (self.of_job & ~self.done).bit_count()

    def indices(self) -> list[int]:
        """The boxes that are done."""
        bits = f"{self.done:b}"
        return [self.part.start + i for i, bit in enumerate(reversed(bits)) if bit == "1"]
