"""The simulation beside real workers that are killed. `make bench` compares more of them."""

from __future__ import annotations

import pytest

from benchmarks.simulation import Case, earlier, on_paper, real

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_real_workers_take_as_long_as_simulated_ones(aws: dict[str, str]) -> None:
    case = Case("killed", 4, 60, (8, 11, 14, 17))
    foretold = on_paper(case, earlier(aws))
    found = real(case, aws)
    assert found.cut > 0
    assert foretold.makespan == pytest.approx(found.makespan, rel=0.2)
