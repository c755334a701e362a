from __future__ import annotations

import json
from pathlib import Path

import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.operators.load_json import LoadJson


def test_a_prefix_names_a_file_for_each_task(run_step, tmp_path: Path) -> None:
    for text in ("0-1_0-1_0-1", "1-2_0-1_0-1"):
        (tmp_path / f"{text}.json").write_text(json.dumps({"box": text}))
    operator = LoadJson(file_path=str(tmp_path))
    for text in ("0-1_0-1_0-1", "1-2_0-1_0-1"):
        assert run_step(operator, bbox=BoundingBox.parse(text)).values["dict"] == {"box": text}


def test_one_file(run_step, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    task = run_step(LoadJson(file_path=f"{tmp_path}/a.json", output_name="ids"))
    assert task.values["ids"] == [1, 2]


def test_missing_and_malformed_files_are_errors(run_step, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ChunkflowError, match="cannot be read as JSON"):
        run_step(LoadJson(file_path=f"{tmp_path}/a.json"))
    with pytest.raises(ChunkflowError, match="there is no file"):
        run_step(LoadJson(file_path=f"{tmp_path}/b.json"))
