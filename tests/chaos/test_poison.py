from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from tests.chaos.poison import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_poisoned_boxes_end_in_the_dead_letters_and_are_done_after_the_repair(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    report = scenario(tmp_path, aws, 1, size=Vec3(1, 4, 5), poisoned=6, workers=1)
    assert not report.broken, report.table()
