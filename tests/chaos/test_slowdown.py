"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.slowdown import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_a_throttled_prefix_costs_no_attempt(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, seed=1, tasks=8, seconds=20)
    assert not report.broken, report.table()
