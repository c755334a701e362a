import logging

import pytest

from chunkflow_worker.report.once import forget_warnings, warn_once

log = logging.getLogger(__name__)


def test_the_same_warning_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    for text in ("no unit in a.tif", "no unit in b.tif", "no unit in a.tif"):
        warn_once(log, text)

    assert [r.getMessage() for r in caplog.records] == ["no unit in a.tif", "no unit in b.tif"]
    assert {r.levelname for r in caplog.records} == {"WARNING"}


def test_tests_can_start_anew(caplog: pytest.LogCaptureFixture) -> None:
    warn_once(log, "again")
    forget_warnings()
    warn_once(log, "again")

    assert len(caplog.records) == 2
