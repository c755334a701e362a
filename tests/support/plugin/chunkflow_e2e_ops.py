"""Operators of another package, found by their entry points.

With them a test can hold a task in a worker process, or make it fail.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from chunkflow_worker.api import Operator, PermanentError, Run, Step, Task, field


class Hold(Operator):
    """Write the start of each task to a file, then wait.

    The wait ends when a file named `go` or `go-<box>` exists, or when the time is over.
    """

    op: Literal["hold"] = "hold"
    folder: str = field(help="Folder of the files `starts` and `go`.")
    seconds: float = field(60.0, help="Longest time to hold a task.")
    opening: bool = field(
        False, help="Make the file `opening`, then take the same time to open the operator."
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
    """Fail on one box, or on the boxes that a file lists."""

    op: Literal["fail"] = "fail"
    box: str = field("", help="The box to fail on.")
    file: str = field("", help="File of boxes to fail on, one per line; read for each task.")
    permanent: bool = field(False, help="Fail with an error that no retry can mend.")
    leave: bool = field(False, help="Call sys.exit, as a user's code might.")
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
    """On one box, allocate memory in steps, hold it for a moment, and release it."""

    op: Literal["hoard"] = "hoard"
    box: str = field(help="The box to allocate memory on.")
    megabytes: int = field(help="How much memory to allocate.")

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
