"""A small soak; `make soak` does the large one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.picture import draw
from tests.soak.run import Size, run

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_a_small_soak_loses_nothing_and_is_drawn(tmp_path: Path) -> None:
    size = Size(tasks=300, workers=2, in_flight=4, kill_every=8, sample_every=0.5)
    outcome = run(tmp_path, size)
    assert not outcome.broken, outcome.broken
    assert outcome.kills, outcome
    counted = outcome.requests
    assert counted["ReceiveMessage"], counted
    assert counted["PUT"] >= size.tasks, counted
    assert outcome.spared.memory
    assert outcome.spared.handles
    draw(outcome, tmp_path / "soak.svg")
    assert "</svg>" in (tmp_path / "soak.svg").read_text()
    assert outcome.report().table()
