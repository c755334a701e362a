"""`say`: the one way in which commands print.

Much of what they print comes from strangers: records, messages, names of files and queues, answers
of servers. Nothing of it may act on a terminal, forge a line, or show a secret.
"""

from __future__ import annotations

import json
from typing import Any

import click

from chunkflow_worker.report.plain import one_line
from chunkflow_worker.report.scrub import scrub, scrubbed


def say(*lines: str, err: bool = False) -> None:
    """Print lines, without secrets and control characters. err: to stderr."""
    for line in lines:
        click.echo(one_line(scrub(line)), err=err)


def say_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, such as an error, in the same way."""
    if text:
        say(*text.removesuffix("\n").split("\n"), err=err)


def say_json(content: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, without secrets; JSON escapes what a terminal would act on."""
    text = json.dumps(scrubbed(content), indent=indent)
    click.echo(text.replace("\x7f", "\\u007f"))
