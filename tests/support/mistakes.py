"""What a user reads after a mistake."""

from __future__ import annotations

import builtins
import re
import shlex

import click
import pytest

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.cli.worker import cli as worker
from chunkflow_worker.config.commands import run_command
from producer.cli import cli as producer

PROGRAMS: dict[str, click.Group] = {
    "chunkflow": chunkflow,
    "chunkflow-worker": worker,
    "chunkflow-producer": producer,
}
_EXCEPTIONS = "|".join(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)
_TEXTS = (
    "invalid literal", "could not convert", "values to unpack", "cannot reshape", "allow_pickle",
    "has no attribute", "not subscriptable", "positional argument", "out of range for", "<class",
)  # fmt: skip
_PYTHON = re.compile(
    rf"\b({_EXCEPTIONS}|[A-Z]\w*(Error|Exception)|Traceback|NoneType|ndarray|pydantic)\b|"
    + "|".join(_TEXTS)
)


def told(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line, which must end as a mistake does; returns what it wrote to stderr.

    It ends with status 2, and with an error of one to four lines, in which there is no text of a
    Python exception. Notes and progress may come before.
    """
    program, *words = shlex.split(line)
    assert run_command(PROGRAMS[program], program, words) == 2
    text = capsys.readouterr().err
    _, found, error = text.rpartition("error: ")
    assert found, text
    assert 1 <= len(error.strip().splitlines()) <= 4, text
    assert not _PYTHON.search(text), text
    return text
