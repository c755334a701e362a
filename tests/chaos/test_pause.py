"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.pause import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_a_paused_worker_writes_nothing_after_its_lease(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    report = scenario(tmp_path, aws, seed=1, tasks=8, workers=2, task_seconds=0.5)
    assert not report.broken, report.table()
