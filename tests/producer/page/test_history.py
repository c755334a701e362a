from __future__ import annotations

import pytest

from producer.page.history import History, range_of


def test_the_past_is_estimated_from_a_sample() -> None:
    history = History()
    history.estimate([30.0, 10.0, 20.0, 40.0], 400)
    assert history.points == [(10, 0), (20, 100), (30, 200), (40, 300)]
    history.add(50.0, 400)
    assert history.counted() == 400


def test_a_long_history_stays_small() -> None:
    history = History()
    for second in range(5000):
        history.add(float(second), second)
    times = [point.time for point in history.points]
    assert len(times) <= 401
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] == 4999


@pytest.mark.parametrize(
    ("seconds", "counted", "ends"),
    [(None, 100, None), (60.0, 5, None), (60.0, 100, (50.0, 75.0)), (60.0, 400, None)],
)
def test_the_end_is_the_surer_the_more_boxes_were_counted(
    seconds: float | None, counted: int, ends: tuple[float, float] | None
) -> None:
    found = range_of(seconds, counted)
    if counted == 400:
        assert found == pytest.approx((60 / 1.1, 60 / 0.9))
    else:
        assert found == (ends and pytest.approx(ends))
