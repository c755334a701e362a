"""Operators of another package, found by their entry points.

By them, a test holds a task in a worker process, lets it fail, or lets it take memory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import PermanentError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class Hold(Operator):
    """Hold each task until a file named `go` or `go-<box>` exists, or for some time.

    The start of each task is written to the file `starts`.
    """

    op: Literal["hold"] = "hold"
    folder: str = field(help="Folder of the files `starts` and `go`.")
    seconds: float = field(60.0, help="Longest time to hold a task.")
    opening: bool = field(
        False, help="Hold the opening, too, after a file named `opening` was made."
    )

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        folder = Path(self.folder)
        if self.opening:
            (folder / "opening").touch()
            time.sleep(self.seconds)

        def step(task: Task) -> None:
            with (folder / "starts").open("a") as starts:
                starts.write(f"{task.bbox} {os.getpid()}\n")
            end = time.monotonic() + self.seconds
            files = (folder / "go", folder / f"go-{task.bbox}")
            while time.monotonic() < end and not any(file.exists() for file in files):
                time.sleep(0.02)

        yield step


class Fail(Operator):
    """Fail on one box, or on the boxes listed in a file."""

    op: Literal["fail"] = "fail"
    box: str = field("", help="The box to fail on.")
    file: str = field("", help="File of boxes to fail on, one per line, read for each task.")
    permanent: bool = field(False, help="Trying again does not help.")
    leave: bool = field(False, help="Ask the process to exit, as code of a user might.")
    words: str = field("made to fail", help="Text of the error.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            boxes = Path(self.file).read_text().splitlines() if self.file else [self.box]
            if str(task.bbox) not in boxes:
                return
            if self.leave:
                sys.exit("made to leave")
            if self.permanent:
                raise PermanentError(f"{self.words} for good")
            raise OSError(self.words)

        yield step


class Hoard(Operator):
    """On one box, take more and more memory, up to a size that is then held for a moment."""

    op: Literal["hoard"] = "hoard"
    box: str = field(help="The box to hoard on.")
    megabytes: int = field(help="Memory to take.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            if str(task.bbox) == self.box:
                held = []
                for _ in range(0, self.megabytes, 20):
                    held.append(bytes(range(256)) * (20 * 4096))
                    time.sleep(0.1)
                time.sleep(1.5)

        yield step
