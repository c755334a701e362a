"""load-json"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import file_to_read, in_folder, local_name, reading


class LoadJson(Operator):
    """Read a JSON file, for operators of your own.

    Differs from chunkflow 1.2.0: a folder or prefix names a file for each task, not that of the first one for all.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = r"""
        chunkflow create-bbox -s 0 0 0 -z 64 512 512 \
            load-json -f notes/ -o notes \
            plugin -f my_report -i notes
    """
    op: Literal["load-json"] = "load-json"
    name: str = field(
        "",
        flag="-n",
        help="Name under which its seconds are reported; the operator's own when empty.",
    )
    file_path: str = field(
        flag="-f",
        help="File; where there is none, a folder, or a prefix unless it ends in .json: the box and .json are appended.",
    )
    output_name: str = field("dict", flag="-o", help="Value to make.")

    _local = field_validator("file_path")(local_name)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            path = file_to_read(in_folder(self.file_path), task.bbox, ".json")
            with reading(path, "JSON"):
                content = path.read_bytes()
                task.values[self.output_name] = json.loads(content)
            task.bytes_read += len(content)

        yield step
