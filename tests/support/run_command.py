"""Commands that run in this process, where a process of their own is not the point."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str


def run_command(
    main: Callable[[], object], *arguments: str, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run the `main` of a command with these arguments.

    environment: all variables that the command sees; those of this process when not given.
    """
    variables = os.environ.copy() if environment is None else environment
    stdout, stderr = StringIO(), StringIO()
    with (
        patch.dict(os.environ, variables, clear=True),
        patch.object(sys, "argv", [main.__module__, *arguments]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            status = main()
        except SystemExit as end:
            status = end.code
    return Finished(_number(status), stdout.getvalue(), stderr.getvalue())


def _number(status: object) -> int:
    """As the interpreter turns what `sys.exit` got into an exit status."""
    if status is None:
        return 0
    return status if isinstance(status, int) else 1
