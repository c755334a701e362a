from __future__ import annotations

import re
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.message import pipeline_digest
from producer.plan.pipeline_file import PipelineFile

CHAIN = """
operators:
  - op: create-chunk
    size: [2, 2, 2]
  - op: save-precomputed
    volume_path: /data/out
"""


def load(folder: Path, text: str) -> PipelineFile:
    path = folder / "p.yaml"
    path.write_text(text)
    return PipelineFile.load(path)


def test_a_pipeline_file_gives_digest_and_ledger(tmp_path: Path) -> None:
    pipeline = load(tmp_path, CHAIN)
    operators = [
        {"op": "create-chunk", "size": [2, 2, 2]},
        {"op": "save-precomputed", "volume_path": "/data/out"},
    ]
    assert pipeline.operators == operators
    assert pipeline.digest == pipeline_digest(operators)
    assert pipeline.ledger_path == "/data/out/log"
    assert pipeline.tasks == {}


def test_a_chain_that_saves_no_volume_has_no_ledger(tmp_path: Path) -> None:
    assert load(tmp_path, "operators: [{op: create-chunk}]").ledger_path is None


def test_options_that_do_not_describe_boxes_are_left_out(tmp_path: Path) -> None:
    tasks = "tasks: {op: generate-tasks, name: cut, use_https: true, chunk_size: [2, 2, 2]}"
    assert load(tmp_path, CHAIN + tasks).tasks == {"chunk_size": [2, 2, 2]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "write `operators:`"),
        ("[1, 2]", "write `operators:`"),
        ("operators: []", "write `operators:`"),
        ("operators: [text]", "write `operators:`"),
        ("operators: [{op: a}]\ntasks: {op: other}", "op: generate-tasks"),
        ("operators: [{op: a}]\ntasks: [1]", "op: generate-tasks"),
        ("operators: [", "is not YAML"),
    ],
)
def test_files_that_are_not_pipelines_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "p.yaml") in str(caught.value)


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml.*No such file"):
        PipelineFile.load(tmp_path / "absent.yaml")
