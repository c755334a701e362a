from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from producer.look.volumes import Source, Volumes, input_of
from producer.plan.pipeline_file import PipelineFile
from tests.support.output import Output

LOAD = {"op": "load-precomputed", "volume_path": "s3://b/in"}


def pipeline_with(*operators: dict[str, Any], **tasks: Any) -> PipelineFile:
    return PipelineFile(Path("chain.yaml"), list(operators), tasks)


@pytest.mark.parametrize(
    ("pipeline", "source"),
    [
        (pipeline_with(LOAD, {"op": "inference"}), Source("s3://b/in")),
        (pipeline_with(LOAD | {"mip": 2}, LOAD), Source("s3://b/in", 2)),
        (pipeline_with(LOAD, volume_path="s3://b/other"), Source("s3://b/in")),
        (pipeline_with({"op": "load-h5"}, volume_path="s3://b/v", mip=1), Source("s3://b/v", 1)),
        (pipeline_with({"op": "load-h5"}), None),
        (None, None),
    ],
)
def test_the_input_is_what_the_pipeline_file_says(
    pipeline: PipelineFile | None, source: Source | None
) -> None:
    assert input_of(pipeline) == source


def test_each_volume_is_opened_once(tmp_path: Path) -> None:
    path, volumes = Output(tmp_path).path, Volumes()
    first = volumes.open(path, 0)
    assert volumes.open(path, 0) is first
    assert volumes.open(path, 0, fill_missing=True) is not first
