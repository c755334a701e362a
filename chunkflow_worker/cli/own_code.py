"""The traceback of an error in the user's own code: a plugin, a net, an operator of a package."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import chunkflow_worker
from chunkflow_worker.config.catalog import package_operators
from chunkflow_worker.errors import ChunkflowError, RetryableError

_OURS = Path(chunkflow_worker.__file__).parent
_LIBRARIES = {
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
}


@contextmanager
def shown_traceback(wanted: bool) -> Iterator[None]:
    """If an error of the block comes from the user's own code, print its traceback there."""
    try:
        yield
    except ChunkflowError as error:
        if wanted:
            click.echo(own_traceback(error), err=True, nl=False)
        raise


def own_traceback(error: BaseException) -> str:
    """The traceback of an error from the first line of the user's code on; empty without such.

    What called that code, our operators and torch, says nothing about the mistake. An error that
    nobody expected has its whole traceback.
    """
    packages = {point.module.partition(".")[0] for point in package_operators().values()}
    for cause in reversed(list(_causes(error))):
        frames = list(traceback.walk_tb(cause.__traceback__))
        for i, (frame, _) in enumerate(frames):
            top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if top in packages or _is_own(frame.f_code.co_filename):
                rest = traceback.StackSummary.extract(iter(frames[i:]))
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


def _is_own(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_OURS) or "site-packages" in path.parts:
        return False
    return not any(path.is_relative_to(folder) for folder in _LIBRARIES)
