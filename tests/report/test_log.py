from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.report.events import (
    Event,
    OperatorFinished,
    TaskDropped,
    TaskFailed,
    TaskFinished,
    TaskStarted,
)
from chunkflow_worker.report.log import SafeFilter, log_events

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
        (TaskDropped("em", BOX), "DEBUG", f"dropped {BOX} of job em, which is cancelled"),
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


PROGRAM = """
import logging, sys
from chunkflow_worker.report.log import set_up_log
set_up_log(*sys.argv[1:], "%(levelname)s %(message)s")
names = ["chunkflow_worker.service.worker", "h5py._conv", "PIL.Image", "asyncio", "numba.core",
         "matplotlib", "tensorstore", "fsspec.local", "botocore.tokens", "urllib3.pool",
         "google.auth", "cloudfiles"]
for name in names:
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger(name), level)(name)
"""


@pytest.mark.parametrize(
    ("levels", "ours", "others"),
    [
        (("DEBUG", "WARNING"), "DEBUG INFO WARNING", "WARNING"),
        (("WARNING", "WARNING"), "WARNING", "WARNING"),
        (("DEBUG", "INFO"), "DEBUG INFO WARNING", "INFO WARNING"),
    ],
)
def test_libraries_say_less_than_this_package(
    levels: tuple[str, str], ours: str, others: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, *levels]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        level, _, name = line.partition(" ")
        said.setdefault(name, []).append(level)
    assert said.pop("chunkflow_worker.service.worker") == ours.split()
    # What the libraries of storage warn of, errors of this package say in one line.
    assert len(said) == 7
    assert all(given == others.split() for given in said.values())


def test_log_lines_and_tracebacks_are_scrubbed_and_no_line_is_forged() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("TIME %(message)s"))
    handler.addFilter(SafeFilter())
    log = logging.Logger("test")
    log.addHandler(handler)
    try:
        raise OSError("password=wJalrXUtnFEMI\nTIME forged \x1b[2J")
    except OSError as error:
        log.exception("failed: %s", error)
    lines = stream.getvalue().split("\n")
    assert lines[:2] == ["TIME failed: password=***", r"    TIME forged \x1b[2J"]
    assert not any(line.startswith("TIME") for line in lines[1:])
    assert "wJalr" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
