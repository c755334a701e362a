"""`Stage`: a part of a pipeline file that is a job of its own, with a ledger of its own.

    stages:
      - {name: label, tasks: ..., operators: [...]}
      - {name: merge, tasks: {tree_of: label}, operators: [...]}
      - {name: relabel, tasks: ..., operators: [...], needs: [merge], queue: cpu, verify: true}

A file with plain `operators:` is a file of one stage without a name, whose ledger is the file's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from chunkflow_worker.errors import Fault

STAGE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
TREE = "tree_of"
"""The option of `tasks` that makes the tasks of a stage a tree over the boxes of another one."""

SHARES = "shares"
"""The option of `tasks` that makes so many tasks, each a `Share` of the objects."""

ZEROS = "allow-zeros"
"""The value of `verify` for an output that may be zero where its input is not."""


@dataclass(frozen=True)
class Stage:
    """A stage as it is written; its operators, and the options of its grid, are not checked yet.

    name: empty for that of a file without stages. place: in the file, for faults.
    tasks: options of the grid, also that of shares; None for a tree, and where none are given.
    tree_of: the stage whose boxes its tasks join, see `Tree`; empty for tasks of a grid.
    needs: the stages that must be complete before it is sent. verify: and verified.
    allow_zeros: blocks that are zero where the input is not are right, as in a mask.
    queue: what the name of its queue ends in; empty for the queue of the file.
    """

    name: str
    operators: Any
    tasks: Any = None
    tree_of: str = ""
    needs: tuple[str, ...] = ()
    verify: bool = False
    allow_zeros: bool = False
    queue: str = ""
    place: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """The stage as a pipeline file of its own. A tree has no tasks there."""
        return {"operators": self.operators} | ({"tasks": self.tasks} if self.tasks else {})

    def fault(self, fault: Fault) -> Fault:
        """A fault in its content, with its place in the file."""
        return replace(fault, place=f"{self.place}.{fault.place}" if self.place else fault.place)

    def queue_of(self, queue: str) -> str:
        """The queue of its tasks, by its name, URL or ARN. queue: that of the file, or this one."""
        own = f"-{self.queue}"
        return queue if not self.queue or queue.endswith(own) else f"{queue}{own}"

    def ledger_in(self, ledger: str) -> str:
        """The path of its ledger. ledger: that of the file, or of this stage already."""
        own, path = f"/stages/{self.name}", ledger.rstrip("/")
        if not self.name:
            return ledger
        return path if path.endswith(own) else f"{path}{own}"


PLAIN = Stage("", None)
"""That of a file without stages."""
