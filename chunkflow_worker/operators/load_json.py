"""load-json"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from chunkflow_worker.config.options import field, with_flag
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.local_file import file_to_read, in_folder, reading


class LoadJson(Operator):
    """Read a JSON file, for your own operators."""

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = r"""
        chunkflow create-bbox -s 0 0 0 -z 64 512 512 \
            load-json -f notes/ -o notes \
            plugin -f my_report -i notes
    """
    differs: ClassVar[str] = (
        "With a folder or prefix, each task reads its own file; chunkflow read the first task's "
        "file for all tasks."
    )
    reads_files: ClassVar[tuple[str, ...]] = ("file_path",)
    formerly: ClassVar[tuple[str, ...]] = ("read-json",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--file-name": "--file-path",
    }
    op: Literal["load-json"] = "load-json"
    name: str = with_flag(Operator, "name", "-n")
    file_path: str = field(
        flag="-f",
        help="File. If no such file exists, it is a folder or prefix: the box and .json are added.",
    )
    output_name: str = field("dict", flag="-o", help="Value to make.")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            path = file_to_read(in_folder(self.file_path), task.bbox, ".json")
            with reading(path, "JSON"):
                content = path.read_bytes()
                task.values[self.output_name] = parse_json(content)
            task.bytes_read += len(content)

        yield step
