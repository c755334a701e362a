from __future__ import annotations

import pytest

from chunkflow_worker.job.cause import cause_of


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("load on -8-0_0-1_0-1: 3 blocks, 1.5 s", "load on <box>: # blocks, # s"),
        ("at 0x7f3a", "at #"),
        ("out of memory", "out of memory"),
    ],
)
def test_a_cause_is_the_error_without_boxes_and_numbers(error: str, cause: str) -> None:
    assert cause_of(error) == cause
