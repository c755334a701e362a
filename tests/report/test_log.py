from __future__ import annotations

import logging

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)
from chunkflow_worker.report.log import log_events

BOX = BoundingBox.parse("-8-56_0-64_128-192")


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (TaskStarted("em", BOX, 2), "INFO", f"started {BOX} of job em, attempt 2"),
        (OperatorFinished("load", BOX, 0.256), "DEBUG", f"load took 0.26 s on {BOX}"),
        (OperatorFinished("load", None, 61), "DEBUG", "load took 61.00 s on the task"),
        (
            TaskFinished("em", BOX, "done", 2, 64, {"load": 0.5, "net": 1.255}, "GPU"),
            "INFO",
            f"done {BOX} in 2.00 s (load 0.50, net 1.25)",
        ),
        (
            TaskFinished("em", BOX, "skipped", 0.1, 64, {}, ""),
            "INFO",
            f"skipped {BOX} in 0.10 s ()",
        ),
        (
            TaskFailed("em", BOX, 1, False, "disk full", ""),
            "ERROR",
            f"failed {BOX}, attempt 1, it will be retried: disk full",
        ),
        (
            TaskFailed("em", BOX, 5, True, "disk full", ""),
            "ERROR",
            f"failed {BOX}, attempt 5, no further attempt: disk full",
        ),
    ],
)
def test_each_event_is_one_line(
    event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        log_events(event)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("chunkflow_worker.tasks", level)
    assert record.getMessage() == line
