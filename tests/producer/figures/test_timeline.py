from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producer.figures.timeline import MOST_BINS, Progress, Timeline

T0 = 1_772_323_200.0
ENDS = st.lists(st.tuples(st.floats(0, 3e7), st.integers(0, 10**9)), min_size=1, max_size=50)


@given(ENDS)
def test_all_tasks_and_voxels_are_in_few_bins(ends: list[tuple[float, int]]) -> None:
    timeline = Timeline()
    for moment, voxels in ends:
        timeline.add(T0 + moment, voxels)
    found = timeline.found()
    assert sum(found.tasks) == len(ends)
    assert sum(found.voxels) == sum(voxels for _, voxels in ends)
    assert len(found.tasks) <= MOST_BINS
    for i, count in enumerate(found.tasks):
        start = found.start + i * found.width
        assert count == sum(start <= T0 + at < start + found.width for at, _ in ends)


def test_nothing_finished() -> None:
    assert Timeline().found() == Progress()


def test_bins_are_wide_for_a_long_job() -> None:
    timeline = Timeline()
    timeline.add(T0, 1)
    assert timeline.found().width == 1
    timeline.add(T0 + 3000, 1)
    assert timeline.found().width == 30
