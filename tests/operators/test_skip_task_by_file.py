from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.skip_task_by_file import SkipTaskByFile
from chunkflow_worker.pipeline.task import SkipTask, Task

BOX = BoundingBox.parse("0-8_0-8_0-8")


@pytest.mark.parametrize("mode", ["missing", "empty", "exist"])
@pytest.mark.parametrize(
    ("content", "skipping"), [(None, {"missing"}), ("", {"empty", "exist"}), ("x", {"exist"})]
)
def test_each_mode(
    run_step: Callable[..., Task],
    tmp_path: Path,
    mode: str,
    content: str | None,
    skipping: set[str],
) -> None:
    file = tmp_path / "r_1-7_1-7_1-7.json"
    if content is not None:
        file.write_text(content)
    operator = SkipTaskByFile(prefix=f"{tmp_path}/r_", suffix=".json", mode=mode, adjust_size=-1)  # type: ignore[arg-type]
    if mode in skipping:
        with pytest.raises(SkipTask, match=r"r_1-7_1-7_1-7\.json (is missing|is empty|exists)"):
            run_step(operator, bbox=BOX)
    else:
        run_step(operator, bbox=BOX)
