from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.spoilt import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_verify_finds_each_spoilt_block_and_nothing_else(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    report = scenario(tmp_path, aws, seed=1, each=2, grid=Vec3(1, 4, 4))
    assert [row[1:3] for row in report.rows[:6]] == [(2, 2)] * 6
    assert not report.broken, report.table()
