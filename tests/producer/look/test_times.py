from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chunkflow_worker.job.record import Written
from producer.look.times import stored_between


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            ("2026-01-02T03:04:05.678+00:00", "2026-01-02T03:04:06.789+00:00"),
            (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), datetime(2026, 1, 2, 3, 4, 6, 789000, UTC)),
        ),
        (
            ("2026-01-02T03:04:05", "2026-01-02T03:04:06"),
            (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), datetime(2026, 1, 2, 3, 4, 6, 0, UTC)),
        ),
        ((), None),
        (("2026-01-02T03:04:05+00:00",), None),
        (("2026-01-02T03:04:05+00:00", "yesterday"), None),
    ],
)
def test_the_times_are_those_of_the_record_if_it_has_both(
    stored: tuple[str, ...], expected: tuple[datetime, datetime] | None
) -> None:
    assert stored_between(Written("v", 0, "box", stored=stored)) == expected
