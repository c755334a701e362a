from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import Any

import boto3
import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.errors import ConfigError, PermanentError, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

INFER = ["inference", "-f", "identity", "-s", "4", "16", "16", "-v", "1", "4", "4", "-c", "1"]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[str, str, str, np.ndarray]:
    """Paths of an input and of two empty outputs, and the input's voxels."""
    bounds = BoundingBox.parse("0-16_0-64_0-64")
    paths = [f"file://{tmp_path}/{name}" for name in ("in", "out", "again")]
    for path in paths:
        create_volume(
            path, bounds=bounds, voxel_size=(40, 8, 8), block_size=Vec3(8, 32, 32), dtype="uint8"
        )
    image = np.random.default_rng(0).integers(1, 255, bounds.size, np.uint8)
    PrecomputedVolume(paths[0]).write(bounds, image)
    return paths[0], paths[1], paths[2], image


def test_a_chain_is_frozen_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(StorageUnavailable, match=r"p\.yaml cannot be written: Not a directory"):
        run("--freeze", tmp_path / "file" / "p.yaml", "create-chunk")
    told = run("--freeze", tmp_path / "new folder" / "größe.yaml", "create-chunk").output
    assert f"chunkflow-worker check '{tmp_path}/new folder/größe.yaml'" in told
    assert [o.op for o in Pipeline.load(tmp_path / "new folder" / "größe.yaml").operators] == [
        "create-chunk"
    ]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "größe.yaml", "new folder"]


def test_an_error_of_what_makes_the_tasks_names_it() -> None:
    with pytest.raises(
        ConfigError, match="generate-tasks: grid: region: nothing says which region to cut"
    ):
        run("generate-tasks", "create-chunk")
    with pytest.raises(
        ConfigError, match="generate-tasks: grid: region: nothing says which region to cut"
    ):
        run("generate-tasks")


def test_a_dry_run_leaves_neither_records_nor_boxes(tmp_path: Path) -> None:
    """A record would tell the producer that the box is done."""
    assert (
        run(
            "--dry-run",
            "--ledger",
            tmp_path / "log",
            "create-bbox",
            "-s",
            0,
            0,
            0,
            "-z",
            8,
            8,
            8,
            "create-chunk",
        ).exit_code
        == 0
    )
    grid = [
        "generate-tasks",
        "-s",
        0,
        0,
        0,
        "-g",
        1,
        1,
        2,
        "-c",
        8,
        8,
        8,
        "-f",
        tmp_path / "boxes.npy",
    ]
    assert run("--dry-run", *grid).exit_code == 0
    assert not list(tmp_path.iterdir())
    assert run(*grid).exit_code == 0
    assert np.load(tmp_path / "boxes.npy").shape == (2, 6)


def test_a_skipped_task_without_a_box_is_told() -> None:
    assert (
        "skipped the task: all voxels of 'chunk' are zero"
        in run("create-chunk", "-p", "zero", "skip-all-zero").output
    )


def test_a_chain_runs_on_each_box_of_a_grid(volumes: tuple, tmp_path: Path) -> None:
    source, target, _, image = volumes
    tasks = ["generate-tasks", "-v", source, "-c", 8, 32, 32]
    done = run(
        "--ledger",
        tmp_path / "log",
        *tasks,
        "load-precomputed",
        "-v",
        source,
        *INFER,
        "save-precomputed",
        "-v",
        target,
    )
    assert done.exit_code == 0, done.output
    assert np.array_equal(
        PrecomputedVolume(target).read(BoundingBox.parse("0-16_0-64_0-64")), image
    )
    records = [json.loads(p.read_text()) for p in (tmp_path / "log").glob("*.json")]
    assert len(records) == 8
    assert all(
        list(r["timer"]) == ["load-precomputed", "inference", "save-precomputed"] for r in records
    )


def test_metrics_of_a_local_run_reach_cloudwatch(
    volumes: tuple,
    tmp_path: Path,
    aws: dict[str, str],
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As chunkflow's plugin of that name did it, which its package lacks."""
    monkeypatch.setenv("CHUNKFLOW_METRICS_NAMESPACE", unique_name)
    source, target, *_ = volumes
    tasks = ["generate-tasks", "-v", source, "-c", 8, 32, 32]
    chain = [
        "skip-task-by-blocks-in-volume",
        "-v",
        target,
        "load-precomputed",
        "-v",
        source,
        "save-precomputed",
        "-v",
        target,
    ]
    for part in (["-i", 0, "-p", 3], []):
        done = run("--metrics", "cloudwatch", "--ledger", tmp_path / "log", *tasks, *part, *chain)
        assert done.exit_code == 0, done.output
    records = [json.loads(p.read_text()) for p in (tmp_path / "log").glob("*.json")]
    assert [r["state"] for r in records].count("skipped") == 3
    client = boto3.client("cloudwatch")
    found = {m["MetricName"] for m in client.list_metrics(Namespace=unique_name)["Metrics"]}
    assert found == {
        "OperatorSeconds",
        "TaskSeconds",
        "Voxels",
        "VoxelsPerSecond",
        "TasksSucceeded",
        "TasksSkipped",
    }

    def total(name: str, **dimensions: str) -> float:
        now = datetime.now(UTC)
        named = {"job": "local", "compute_device": "none"} | dimensions
        answer = client.get_metric_statistics(
            Namespace=unique_name, MetricName=name, Statistics=["Sum"], Period=3600,
            StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=2),
            Dimensions=[{"Name": key, "Value": value} for key, value in named.items()],
        )  # fmt: skip
        return sum(point["Sum"] for point in answer["Datapoints"])

    assert (total("TasksSucceeded"), total("TasksSkipped"), total("Voxels")) == (
        8,
        3,
        11 * 8 * 32 * 32,
    )
    taken = sum(r["timer"].get("save-precomputed", 0.0) for r in records)
    assert total("OperatorSeconds", operator="save-precomputed") == pytest.approx(taken) != 0


def test_a_frozen_chain_gives_the_same_result(volumes: tuple, tmp_path: Path) -> None:
    source, target, again, _ = volumes
    file = tmp_path / "p.yaml"
    chain = [
        "generate-tasks",
        "-v",
        source,
        "-c",
        8,
        32,
        32,
        "load-precomputed",
        "-v",
        source,
        *INFER,
        "threshold",
        "-t",
        0.3,
    ]
    assert run(*chain, "save-precomputed", "-v", target).exit_code == 0
    assert run("--freeze", file, *chain, "save-precomputed", "-v", again).exit_code == 0
    bounds = PrecomputedVolume(again).bounds
    assert PrecomputedVolume(again).missing(bounds), "freezing runs nothing"
    frozen = yaml.safe_load(file.read_text())
    assert [o["op"] for o in frozen["operators"]] == [
        "load-precomputed",
        "inference",
        "threshold",
        "save-precomputed",
    ]
    assert frozen["tasks"] == {
        "op": "generate-tasks",
        "volume_path": source,
        "chunk_size": [8, 32, 32],
    }
    assert run("--pipeline", file).exit_code == 0
    assert np.array_equal(
        PrecomputedVolume(again).read(bounds), PrecomputedVolume(target).read(bounds)
    )


def test_a_pipeline_file_can_run_on_one_box(volumes: tuple, tmp_path: Path) -> None:
    source, target, _, image = volumes
    file = tmp_path / "p.yaml"
    run(
        "--freeze", file, "load-precomputed", "-v", source, *INFER, "save-precomputed", "-v", target
    )
    assert run("--pipeline", file, "generate-tasks", "-b", "8-16_0-32_32-64").exit_code == 0
    box = BoundingBox.parse("8-16_0-32_32-64")
    made = PrecomputedVolume(target)
    assert np.array_equal(made.read(box), image[box.slices()])
    assert len(made.missing(made.bounds)) == 7


def test_files_work_without_any_box(tmp_path: Path) -> None:
    file = tmp_path / "out.h5"
    done = run("create-chunk", "-s", 8, 32, 32, *INFER, "save-h5", "-f", file)
    assert done.exit_code == 0, done.output
    with h5py.File(file) as h5:
        assert h5["main"].shape == (1, 6, 24, 24)
        assert h5["voxel_offset"][:].tolist() == [1, 4, 4]


def test_mip_is_the_default_of_operators_that_are_given_none(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    run(
        "--mip",
        2,
        "--freeze",
        file,
        "load-precomputed",
        "-v",
        "file://x",
        "save-precomputed",
        "-v",
        "file://y",
        "-m",
        1,
    )
    assert [o["mip"] for o in yaml.safe_load(file.read_text())["operators"]] == [2, 1]


def test_dry_run_writes_nothing(volumes: tuple) -> None:
    source, target, _, _ = volumes
    assert (
        run(
            "--dry-run", "load-precomputed", "-v", source, "save-precomputed", "-v", target
        ).exit_code
        == 0
    )
    made = PrecomputedVolume(target)
    assert len(made.missing(made.bounds)) == 8


def test_mistakes_are_told_with_place_and_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        run("create-chunk", "treshold")
    with pytest.raises(
        ConfigError, match=r"threshold\): reads 'image', which no operator before it makes"
    ):
        run("create-chunk", "threshold", "-i", "image")
    with pytest.raises(ConfigError, match="smaller than the output patch"):
        run("create-chunk", "inference", "-f", "identity", "-s", 4, 4, 4, "-v", 4, 1, 1)
    with pytest.raises(ConfigError, match="put it first"):
        run("create-chunk", "generate-tasks", "-c", 4, 4, 4)
    with pytest.raises(ConfigError, match="the chain has no operators"):
        run("--verbose")
    assert "Invalid value for '-d'" in run("create-chunk", "-d", "int3").output


def test_an_error_in_a_task_ends_the_run(volumes: tuple, tmp_path: Path) -> None:
    source, target, _, _ = volumes
    with pytest.raises(PermanentError, match=r"load-precomputed on 90-98_0-8_0-8: .* is outside"):
        run(
            "generate-tasks",
            "-b",
            "90-98_0-8_0-8",
            "load-precomputed",
            "-v",
            source,
            "save-precomputed",
            "-v",
            target,
        )


def test_help_groups_the_operators() -> None:
    text = run("--help").output
    for group in ("Tasks:", "Read:", "Write:", "Image:", "Inference:", "View:"):
        assert group in text
    for name in operator_names():
        assert name in text


def test_help_shows_a_whole_chain() -> None:
    text = run("--help").output
    assert indent(cleandoc(find_operator("inference").example), "    ") in text


def test_help_of_an_operator_says_how_it_differs_from_chunkflow() -> None:
    text = " ".join(run("load-precomputed", "--help").output.split())
    assert "Differences from chunkflow 1.2.0: Missing blocks are an error, not zeros." in text
    assert "Differences from" not in run("threshold", "--help").output
