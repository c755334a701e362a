"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.stages import run

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_kills_of_workers_and_of_run_spoil_no_stage(tmp_path: Path, aws: dict[str, str]) -> None:
    options = {"workers": 2, "task_seconds": 1.0, "every": (3.0, 5.0), "limit": 240.0}
    outcome = run(tmp_path, aws, seed=1, boxes=Vec3(1, 2, 3), **options)
    assert not outcome.broken(), outcome
    assert outcome.run_kills, outcome
