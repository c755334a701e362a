from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.disk import FULL, Case, scenario
from tests.support.small_disk import NoMount

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.mark.parametrize("case", FULL)
def test_a_job_is_completed_after_the_repair(
    tmp_path: Path, aws: dict[str, str], case: Case
) -> None:
    try:
        report = scenario(tmp_path, aws, 1, cases=[case], tasks=24, seconds=3)
    except NoMount as reason:
        pytest.skip(f"a small disk cannot be mounted here: {reason}")
    assert not report.broken, report.table()
