"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.drivers import DRIVERS, Driver
from tests.chaos.slowdown import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_throttled_prefix_costs_no_attempt(
    tmp_path: Path, aws: dict[str, str], driver: Driver
) -> None:
    report = scenario(tmp_path, aws, seed=1, drivers=[driver], tasks=12, seconds=20)
    assert not report.broken, report.table()
