"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.clock import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_wrong_clocks_do_no_harm(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, seed=1, places=["disk"], tasks=12, task_seconds=7)
    assert not report.broken, report.table()
