from __future__ import annotations

import gzip

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from producer.look.survey import Marks
from producer.page import box_states as module
from producer.page.box_states import STATES, box_states, changed_runs, counts, packed

some_states = arrays(np.uint8, st.integers(1, 200), elements=st.integers(0, len(STATES) - 1))


@given(some_states)
def test_what_is_packed_is_unpacked(states: np.ndarray) -> None:
    sent = np.frombuffer(gzip.decompress(packed(states)), np.uint8)
    unpacked = np.stack([sent & 15, sent >> 4], 1).ravel()
    assert (unpacked[: len(states)] == states).all()
    assert len(sent) == -(-len(states) // 2)


@given(some_states, st.randoms(use_true_random=False))
def test_runs_make_the_states_after_from_those_before(before: np.ndarray, chance: object) -> None:
    after = np.roll(before, 1)
    runs = changed_runs(before, after)
    assert runs is not None
    made = before.copy()
    for start, length, state in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        assert (made[start : start + length] != state).all(), "only what changed is sent"
        made[start : start + length] = state
    assert (made == after).all()


def test_a_page_gets_all_states_again_where_the_runs_are_too_many(monkeypatch: object) -> None:
    before = np.zeros(2 * module.MOST_RUNS + 2, np.uint8)
    after = before.copy()
    after[::2] = 1
    assert changed_runs(before, after) is None
    assert changed_runs(before, before[:-1]) is None, "the job has grown"
    assert changed_runs(before, before) == []


def test_a_success_hides_what_was_before_it() -> None:
    of_job = np.array([0, 1, 1, 1, 1, 1, 1, 1], bool)
    done = np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    failed = np.array([0, 0, 1, 1, 1, 0, 0, 0], bool)
    slow, skipped = np.zeros(8, bool), np.zeros(8, bool)
    slow[[1, 6]] = skipped[[2, 7]] = True
    marks = Marks(of_job, done, done, failed)
    states = box_states(marks, skipped, slow, dead=[1, 3, 4, 5], running=[0, 4, 5])
    assert [STATES[state] for state in states] == [
        "outside",
        "waiting",
        "failed",
        "dead",
        "running",
        "done",
        "slow",
        "skipped",
    ]
    assert counts(states) == dict.fromkeys(STATES[1:], 1)
