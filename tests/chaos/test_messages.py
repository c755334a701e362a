from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.messages import scenario

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_each_message_is_refused_with_a_reason_or_done(tmp_path: Path, aws: dict[str, str]) -> None:
    report = scenario(tmp_path, aws, 1, count=120, workers=1)
    assert not report.broken, report.table()
