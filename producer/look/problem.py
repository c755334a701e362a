"""`Problem`: one thing that is wrong, or not known, about the output of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "no-record",
    "failed",
    "missing",
    "damaged",
    "nan",
    "zero",
    "stale",
    "unreadable",
    "not-checked",
]

KINDS: dict[Kind, str] = {
    "no-record": "not done: there is no record",
    "failed": "not done: the last attempt failed",
    "missing": "blocks or files that are not in storage",
    "damaged": "blocks or files that are truncated, or blocks that cannot be decoded",
    "nan": "voxels that are NaN",
    "zero": "blocks that are zero where the input is not",
    "stale": "not what the task left: from an earlier run, another pipeline or net, or changed",
    "unreadable": "storage refuses or fails to read it, so nothing is known of it",
    "not-checked": "done, but there is nothing to compare it, or a part of it, with",
}
"""What each kind means, in the order in which they are shown."""

_UNKNOWN: tuple[Kind, ...] = ("unreadable", "not-checked")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or not known, about the output of a task.

    blocks: the names of blocks below `volume`; empty when the problem concerns the whole box.
    """

    box: str
    kind: Kind
    volume: str = ""
    blocks: tuple[str, ...] = ()
    detail: str = ""

    @property
    def is_wrong(self) -> bool:
        """Something is known to be wrong, and not only unknown."""
        return self.kind not in _UNKNOWN

    @property
    def contradicts_record(self) -> bool:
        """The ledger has the box as done, but its output is not right."""
        return self.is_wrong and self.kind not in ("no-record", "failed")
