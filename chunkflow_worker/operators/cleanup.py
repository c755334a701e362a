"""cleanup"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import storage_error


class Cleanup(Operator):
    """Delete files in a folder: all files, empty files, or files that are not empty.

    For example, it deletes the files that skip-task-by-file looks for. The files are deleted once,
    when the chain starts. Hidden files and subfolders are kept.
    """

    group: ClassVar[str] = "Tasks"
    example: ClassVar[str] = "chunkflow cleanup -d flags -m empty"
    differs: ClassVar[str] = (
        "Without a suffix, only empty files are deleted; chunkflow deleted every file of the "
        "current folder. Workers refuse this operator."
    )
    writes_files: ClassVar[tuple[str, ...]] = ("dir",)
    op: Literal["cleanup"] = "cleanup"
    dir: str = field("./", flag="-d", help="Folder to look in.")
    mode: Literal["exist", "empty", "not-empty"] = field(
        "exist", flag="-m", help="Which of the files with the suffix to delete."
    )
    suffix: str | None = field(
        None, flag="-s", help="End of the file names; required unless the mode is empty."
    )

    @model_validator(mode="after")
    def _says_which(self) -> Cleanup:
        if self.mode != "empty" and not self.suffix:
            raise ValueError(
                f"mode {self.mode!r} without a suffix would delete all files in {self.dir}: give a "
                "suffix"
            )
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        if run.recorded:
            cure = "run it by itself: chunkflow cleanup"
            raise ConfigError.one(self.label, "workers", "would delete each other's files", cure)
        folder = Path(self.dir)
        if not folder.is_dir():
            raise ConfigError.one(self.label, "dir", f"there is no folder {folder}")
        doomed = [path for path in sorted(folder.iterdir()) if self._takes(path)]
        for path in [] if run.dry_run else doomed:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(f"{path} cannot be deleted: {error.strerror}", error) from error

        def step(task: Task) -> None:
            """The files are already deleted."""

        yield step

    def _takes(self, path: Path) -> bool:
        if (
            path.name.startswith(".")
            or not path.name.endswith(self.suffix or "")
            or not path.is_file()
        ):
            return False
        return self.mode == "exist" or (path.stat().st_size == 0) == (self.mode == "empty")
