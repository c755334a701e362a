"""The traceback of an error in the user's own code: a plugin, a net, an operator of a package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from chunkflow_worker.errors import ChunkflowError, RetryableError
from chunkflow_worker.pipeline.own_code import own_frames
from chunkflow_worker.report.say import say_text


@contextmanager
def shown_traceback(wanted: bool) -> Iterator[None]:
    """If an error of the block comes from the user's own code, print its traceback there."""
    try:
        yield
    except ChunkflowError as error:
        if wanted:
            say_text(own_traceback(error), err=True)
        raise


def own_traceback(error: BaseException) -> str:
    """The traceback of an error from the first line of the user's code on; empty without such.

    What called that code, our operators and torch, says nothing about the mistake. An error that
    nobody expected has its whole traceback.
    """
    for cause in reversed(list(_causes(error))):
        frames = own_frames(cause)
        if frames:
            rest = traceback.StackSummary.extract(iter(frames))
            lines = [*rest.format(), *traceback.format_exception_only(cause)]
            return "Traceback (most recent call last):\n" + "".join(lines)
    if type(error) is RetryableError and error.__cause__ is not None:
        return "".join(traceback.format_exception(list(_causes(error))[-1]))
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
