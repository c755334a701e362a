"""A small run of the scenario; `make chaos` does the large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.kills import run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_kills_duplicates_and_broken_connections_lose_nothing(
    tmp_path: Path, aws: dict[str, str]
) -> None:
    outcome = run(
        tmp_path, aws, seed=1, tasks=24, workers=2, task_seconds=1, every=(4, 7), limit=100
    )
    assert not outcome.broken, outcome
    assert outcome.kills + outcome.terms, outcome
    assert outcome.cut, outcome
