"""A number for the state of each box, and how many of them are sent at once."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from producer.look.survey import Marks

STATES = ("outside", "waiting", "running", "done", "skipped", "failed", "dead", "slow")
"""Their places are the numbers. outside: the job leaves the box out. dead: it failed and is given
up. slow: it is done, and took far longer than others."""

OUTSIDE, WAITING, RUNNING, DONE, SKIPPED, FAILED, DEAD, SLOW = range(len(STATES))

MOST_RUNS = 20_000
"""Of one update; a page that misses more gets all states again."""


def box_states(
    marks: Marks,
    skipped: NDArray[np.bool_],
    slow: NDArray[np.bool_],
    dead: Iterable[int],
    running: Iterable[int],
) -> NDArray[np.uint8]:
    """The states of the boxes of a grid. dead, running: their places."""
    states = np.where(marks.of_job, np.uint8(WAITING), np.uint8(OUTSIDE))
    states[marks.failed] = FAILED
    given_up = np.fromiter(dead, np.int64)
    states[given_up[marks.failed[given_up]]] = DEAD
    now = np.fromiter(running, np.int64)
    states[now[marks.of_job[now]]] = RUNNING
    states[marks.done] = DONE
    states[marks.done & slow] = SLOW
    states[marks.done & skipped] = SKIPPED
    return states


def counts(states: NDArray[np.uint8]) -> dict[str, int]:
    """How many boxes are in each state, without those outside the job."""
    found = np.bincount(states, minlength=len(STATES)).tolist()
    return dict(zip(STATES[1:], found[1:], strict=True))


def packed(states: NDArray[np.uint8]) -> bytes:
    """Two states a byte, the lower four bits first; compressed by gzip."""
    even = np.zeros(-(-len(states) // 2) * 2, np.uint8)
    even[: len(states)] = states
    return gzip.compress((even[::2] | even[1::2] << 4).tobytes(), 5, mtime=0)


def changed_runs(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> list[int] | None:
    """What changed: first place, length and new state of each run, one after the other.

    None for too many runs, or another number of boxes.
    """
    if len(before) != len(after):
        return None
    changed = np.flatnonzero(before != after)
    if not len(changed):
        return []
    new = after[changed]
    starts = np.flatnonzero(np.r_[True, (np.diff(changed) != 1) | (new[1:] != new[:-1])])
    if len(starts) > MOST_RUNS:
        return None
    lengths = np.diff(np.r_[starts, len(changed)])
    runs: list[int] = np.stack([changed[starts], lengths, new[starts]], 1).ravel().tolist()
    return runs
