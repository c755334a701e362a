from __future__ import annotations

import logging
import threading

import pytest

from chunkflow_worker.errors import ConfigError, RetryableError
from chunkflow_worker.report.excerpt import LINES, log_excerpt, traceback_lines

log = logging.getLogger("somebody's library")


def test_the_last_lines_of_this_thread_are_kept_until_the_block_ends() -> None:
    with log_excerpt() as lines:
        other = threading.Thread(target=log.warning, args=("from another thread",))
        other.start()
        other.join()
        for i in range(LINES + 5):
            log.warning("line %d", i)
    log.warning("too late")
    assert len(lines) == LINES
    assert lines[0].endswith("WARNING somebody's library: line 5")
    assert lines[-1].endswith(f"line {LINES + 4}")


def test_long_lines_are_cut() -> None:
    with log_excerpt() as lines:
        log.warning("x" * 10_000)
    assert [len(line) for line in lines] == [500]


def raised_from(cause: BaseException) -> RetryableError:
    try:
        try:
            raise cause
        except BaseException as error:
            raise RetryableError("wrapped") from error
    except RetryableError as error:
        return error


def test_unexpected_errors_have_a_traceback() -> None:
    lines = traceback_lines(raised_from(ZeroDivisionError("by zero")))
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: by zero"
    assert any("raised_from" in line for line in lines)


@pytest.mark.parametrize(
    "error", [RetryableError("on purpose"), raised_from(ConfigError.one("a", "b", "c"))]
)
def test_errors_that_are_raised_on_purpose_have_none(error: Exception) -> None:
    assert traceback_lines(error) == []
