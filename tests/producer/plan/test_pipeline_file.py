from __future__ import annotations

import re
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.message import pipeline_digest
from chunkflow_worker.pipeline.chain import Pipeline
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


VARIABLES = """
tasks: {op: generate-tasks, volume_path: "${env:IN}", chunk_size: [2, 2, 2]}
operators:
  - {op: load-precomputed, volume_path: "${env:IN}"}
  - {op: save-precomputed, volume_path: "precomputed://${env:OUT}/em"}
"""


def test_variables_are_those_of_the_producer_and_the_digest_is_that_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = set()
    for place in ("s3://lab", "/data"):
        monkeypatch.setenv("IN", f"{place}/in")
        monkeypatch.setenv("OUT", place)
        pipeline = load(tmp_path, VARIABLES)
        assert Grid.model_validate(pipeline.tasks).volume_path == f"{place}/in"
        assert pipeline.ledger_path == f"{place}/em/log"
        worker = Pipeline.load(pipeline.path)
        assert worker.ledger_path == pipeline.ledger_path
        digests |= {pipeline.digest, worker.digest}
    assert len(digests) == 1


def test_a_variable_that_is_not_set_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IN", "/data")
    monkeypatch.delenv("OUT", raising=False)
    with pytest.raises(
        ConfigError, match=r"operators.1 \(save-precomputed\).volume_path"
    ) as refused:
        load(tmp_path, VARIABLES)
    assert "variable OUT is not set" in str(refused.value)
    assert "export OUT=" in str(refused.value)


@pytest.mark.parametrize(
    ("operator", "fault"),
    [
        ("op: save-precomputed, volume_path: 's3:/lab/x'", "did you mean s3://lab/x?"),
        ("op: save-precomputed, volume_path: '${OUT}/x'", "write ${env:OUT}"),
        ("op: save-precomputed, volume_path: 'https://host/x'", "is read only"),
        ("op: create-info, volume_path: 'http://host/x'", "is read only"),
        ("op: save-zarr, store: 'https://host/x'", "is read only"),
        ("op: mark-complete, prefix: 'https://host/x'", "is read only"),
        ("op: mesh, output_path: 'https://host/x'", "is read only"),
        ("op: mesh, output_path: 'zarr://s3://lab/x'", "save-volume writes it"),
        ("op: save-h5, file_name: 's3://lab/x'", "a path on this machine"),
    ],
)
def test_what_workers_would_refuse_is_refused_before_anything_is_sent(
    tmp_path: Path, operator: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)) as refused:
        load(tmp_path, f"operators:\n  - {{op: create-chunk}}\n  - {{{operator}}}")
    assert "operators.1 (" in str(refused.value)
