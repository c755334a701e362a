"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.sqs_long import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_an_outage_longer_than_the_lease_costs_nothing(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, seed=1, tasks=4, task_seconds=12)
    assert not report.broken, report.table()
