from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.outages import Case, scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("case", [Case("sqs", "close", 6), Case("s3", "503", 4)], ids=["sqs", "s3"])
def test_a_job_outlasts_an_outage(tmp_path: Path, aws: dict[str, str], case: Case) -> None:
    report = scenario(tmp_path, aws, 1, cases=[case], tasks=20, hold_seconds=0.2)
    assert not report.broken, report.table()


def test_cloudwatch_that_hangs_costs_nothing(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, 1, cases=[Case(None, "hang", 0)], tasks=12, hold_seconds=0.2)
    assert not report.broken, report.table()
