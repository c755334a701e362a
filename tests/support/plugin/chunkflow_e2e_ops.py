"""Operators of another package, found by their entry points: they let a test hold or fail a task in a worker process."""

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
    """Note the start of each task in a file, then hold it until a file named `go` or `go-<box>` is there, or for some time."""

    op: Literal["hold"] = "hold"
    folder: str = field(help="Folder of the files `starts` and `go`.")
    seconds: float = field(60.0, help="Longest time to hold a task.")
    opening: bool = field(
        False, help="Take that long to open already, after a note in the file `opening`."
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
    """Fail on one box, or on those listed in a file, for good or for this time."""

    op: Literal["fail"] = "fail"
    box: str = field("", help="The box to fail on.")
    file: str = field("", help="File of boxes to fail on, one a line, read anew for each task.")
    permanent: bool = field(False, help="No use in trying again.")
    leave: bool = field(False, help="Ask the process to exit, as a user's code might.")
    words: str = field("made to fail", help="Text of the error.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            if str(task.bbox) in (
                [self.box] if not self.file else Path(self.file).read_text().splitlines()
            ):
                if self.leave:
                    sys.exit("made to leave")
                raise (
                    PermanentError(f"{self.words} for good")
                    if self.permanent
                    else OSError(self.words)
                )

        yield step


class Hoard(Operator):
    """On one box, take memory until the process ends or the given size is held for a moment."""

    op: Literal["hoard"] = "hoard"
    box: str = field(help="The box to hoard on.")
    megabytes: int = field(help="How much to take.")

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
