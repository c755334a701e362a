"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.update import CASES, Case, scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("case", CASES)
def test_no_block_of_an_old_net_is_unseen(tmp_path: Path, aws: dict[str, str], case: Case) -> None:
    report = scenario(tmp_path, aws, seed=1, cases=[case], tasks=8)
    assert not report.broken, report.table()
