"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.update import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_no_block_of_an_old_net_is_unseen(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, seed=1, cases=["one path"], tasks=8)
    assert not report.broken, report.table()
