from __future__ import annotations

import pytest

from chunkflow_worker.report.outage import Outage


def test_an_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("SQS")
    outage.answered()
    for _ in range(5):
        outage.failed(OSError("gone"))
    assert outage.is_on
    outage.answered()
    outage.answered()
    assert not outage.is_on
    assert [r.getMessage() for r in caplog.records] == [
        "SQS does not answer, retrying: OSError: gone",
        "SQS answers again, after 0 s",
    ]
