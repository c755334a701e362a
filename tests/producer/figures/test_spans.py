from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from producer.figures.spans import Spans

SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 20)), min_size=1, max_size=60)


@given(SPANS)
def test_the_seconds_are_those_of_the_union(pairs: list[tuple[int, int]]) -> None:
    spans = Spans()
    for start, length in pairs:
        spans.add(start, start + length)
    assert spans.seconds == len({s + i for s, length in pairs for i in range(length)})
    found = spans.found()
    assert all(a[1] < b[0] for a, b in pairwise(found))


def test_few_are_shown_and_the_smallest_gaps_close() -> None:
    spans = Spans()
    for start, stop in ((0, 1), (2, 3), (10, 11), (12, 13)):
        spans.add(start, stop)
    assert spans.found(2) == [(0, 3), (10, 13)]
    assert spans.found(1) == [(0, 13)]


def test_tasks_in_any_order_leave_the_long_gap_and_take_little_memory() -> None:
    spans = Spans(most=10)
    tasks = [*range(0, 1000), *range(1500, 2000)]
    for i in range(len(tasks)):
        start = tasks[i * 977 % len(tasks)]
        spans.add(start, start + 1)
    assert spans.found() == [(0, 1000), (1500, 2000)]
    assert len(spans._held) <= 40
