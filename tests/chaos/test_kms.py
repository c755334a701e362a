"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.drivers import DRIVERS, Driver
from tests.chaos.kms import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.mark.parametrize("driver", DRIVERS)
def test_etags_that_are_no_md5s_are_taken_for_none(
    tmp_path: Path, aws: dict[str, str], driver: Driver
) -> None:
    report = scenario(tmp_path, aws, seed=0, drivers=[driver], tasks=8)
    assert not report.broken, report.table()
