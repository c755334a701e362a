"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.shards import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_kills_spoil_no_shard(tmp_path: Path, aws: dict[str, str]) -> None:
    options = {"tasks": 16, "workers": 2, "task_seconds": 1, "every": (4, 7), "limit": 100}
    report = scenario(tmp_path, aws, seed=1, **options)
    assert not report.broken, report.table()
