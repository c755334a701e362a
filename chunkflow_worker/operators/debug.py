"""debug"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task, describe_value


class Debug(Operator):
    """Stop at each task and open a Python prompt, to inspect and change the task's values.

    The prompt knows `task`, and each value by its name if that is a name in Python; all values are
    in `task.values`. Ctrl-D continues the chain, and exit() ends the run. Needs a terminal, so
    workers refuse it.
    """

    group: ClassVar[str] = "View"
    example: ClassVar[str] = "chunkflow load-h5 -f em.h5 threshold -t 0.4 debug save-h5 -f mask.h5"
    differs: ClassVar[str] = "Without a terminal it fails before the first task, not during it."
    op: Literal["debug"] = "debug"

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        if run.recorded:
            raise ConfigError.one(
                self.label,
                "op",
                "needs a terminal, and workers have none",
                "take it out of the pipeline",
            )
        if not sys.stdin.isatty():
            cure = "run the chain in a terminal, without a pipe or redirection of its input"
            raise ConfigError.one(self.label, "stdin", "is not a terminal", cure)

        def step(task: Task) -> None:
            names = {name: value for name, value in task.values.items() if name.isidentifier()}
            _prompt(
                f"\n{_described(task)}\nCtrl-D continues, exit() ends the run.",
                names | {"task": task},
            )

        yield step


def _described(task: Task) -> str:
    lines = [f"task: {task.bbox or 'no box'}"]
    for name, value in task.values.items():
        content = "" if hasattr(value, "array") else f" {value!r}"[:200]
        lines.append(f"{name}: {describe_value(value)}{content}")
    return "\n".join(lines)


def _prompt(banner: str, names: dict[str, Any]) -> None:
    """Open a Python prompt until Ctrl-D. exit() raises KeyboardInterrupt, as Ctrl-C does."""
    import code

    with suppress(ImportError):  # some builds of Python do not have it
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    try:
        code.interact(banner, local=names, exitmsg="")
    except SystemExit:
        raise KeyboardInterrupt from None
