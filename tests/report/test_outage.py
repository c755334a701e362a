from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from chunkflow_worker.errors import StorageRefused
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
        "SQS does not answer, retrying: gone",
        "SQS answers again, after 0 s",
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StorageRefused("s3://lab: no AWS credentials were found\n    log in"), "found; log in"),
        (EndpointConnectionError(endpoint_url="http://host:1/"), "retrying: host:1 cannot be"),
        (ConnectionRefusedError(111, "Connection refused"), "reached: Connection refused"),
    ],
)
def test_the_line_says_what_happened_and_names_no_type(
    error: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    Outage("SQS").failed(error)
    (line,) = [r.getMessage() for r in caplog.records]
    assert text in line
    assert "Error" not in line
    assert "\n" not in line
