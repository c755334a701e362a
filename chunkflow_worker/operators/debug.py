"""debug"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task, kind_of


class Debug(Operator):
    """Stop at each task and open a Python prompt, in which `task` and its values can be looked at and changed.

    Values bear their names where those are Python's; all are in `task.values`. Ctrl-D goes on with the chain, and exit() ends
    the run. Needs a terminal, so it is refused in workers. Differs from chunkflow 1.2.0: without a terminal it says so before
    the first task, instead of failing at it.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 threshold -t 0.4 debug save-h5 -f mask.h5"
    op: Literal["debug"] = "debug"

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        if run.recorded:
            raise ConfigError.one(
                self.label,
                "op",
                "is for a terminal, and workers have none",
                "take it out of the pipeline",
            )
        if not sys.stdin.isatty():
            cure = "run the chain on a terminal, without pipes and redirections of its input"
            raise ConfigError.one(self.label, "stdin", "is not a terminal", cure)

        def step(task: Task) -> None:
            names = {name: value for name, value in task.values.items() if name.isidentifier()}
            _prompt(
                f"\n{_described(task)}\nCtrl-D goes on, exit() ends the run.",
                names | {"task": task},
            )

        yield step


def _described(task: Task) -> str:
    lines = [f"task: {task.bbox or 'no box'}"]
    for name, value in task.values.items():
        content = "" if hasattr(value, "array") else f" {value!r}"[:200]
        lines.append(f"{name}: {kind_of(value)}{content}")
    return "\n".join(lines)


def _prompt(banner: str, names: dict[str, Any]) -> None:
    """A Python prompt until Ctrl-D. Raises KeyboardInterrupt, as Ctrl-C does elsewhere, on exit()."""
    import code

    with suppress(ImportError):  # not every Python has it
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    try:
        code.interact(banner, local=names, exitmsg="")
    except SystemExit:
        raise KeyboardInterrupt from None
