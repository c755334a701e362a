"""What a kill cost is read from the logs of the workers."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import datetime
from pathlib import Path

from tests.chaos.history import CutOff, cut_off, history, starts
from tests.support.killer import Kill

FIRST = """\
2026-01-02 03:04:05,000 INFO started 0-16_0-64_0-64 of job job, attempt 1
2026-01-02 03:04:06,000 INFO done 0-16_0-64_0-64 in 1.00 s (hold 1.00)
2026-01-02 03:04:06,100 INFO started 0-16_0-64_64-128 of job job, attempt 1
2026-01-02 03:04:06,200 INFO host-gpu0 started 0-16_0-64_128-192 of job job, attempt 1
2026-01-02 03:04:06,300 INFO started 0-16_0-64_192-256 of job job, attempt 1
2026-01-02 03:04:07,300 ERROR failed 0-16_0-64_192-256, attempt 1, it will be retried: gone
"""
SECOND = """\
2026-01-02 03:04:09,500 INFO started 0-16_0-64_64-128 of job job, attempt 2
2026-01-02 03:04:10,500 INFO done 0-16_0-64_64-128 in 1.00 s (hold 1.00)
2026-01-02 03:04:10,600 INFO started 0-16_0-64_64-128 of job job, attempt 3
"""


def test_a_cut_off_task_is_lost_until_another_worker_starts_it(tmp_path: Path) -> None:
    (tmp_path / "worker-0.log").write_text(FIRST)
    (tmp_path / "worker-1.log").write_text(SECOND)
    kill = Kill(0, signal.SIGTERM, datetime(2026, 1, 2, 3, 4, 7).timestamp())
    assert list(cut_off(history(tmp_path, 2), kill)) == [
        CutOff("0-16_0-64_64-128", 2.5),
        CutOff("0-16_0-64_128-192", None),
    ]


def test_starts_are_counted_by_job_and_box(tmp_path: Path) -> None:
    (tmp_path / "worker-0.log").write_text(FIRST)
    (tmp_path / "worker-1.log").write_text(SECOND.replace("job job", "job other"))
    made, cut = starts(tmp_path, 2)
    assert made["other", "0-16_0-64_64-128"] == 2
    assert made.total() == 6
    assert cut == Counter(
        [
            ("job", "0-16_0-64_64-128"),
            ("job", "0-16_0-64_128-192"),
            ("job", "0-16_0-64_192-256"),
            ("other", "0-16_0-64_64-128"),
        ]
    )
