from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.archive.ledger import ArchivedLedger
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from chunkflow_worker.operators.log_summary import LogSummary
from producer.repair.archive import Packer


def summary(path: Path | str, *options: str) -> list[list[str]]:
    """The words of each line that the command prints."""
    done = CliRunner().invoke(
        cli, ["log-summary", "-l", str(path), *options], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return [line.split() for line in done.output.splitlines() if line.strip()]


def peer_log(folder: Path, bbox: str, timer: dict[str, float], device: str = "GPU") -> None:
    """Write a log as chunkflow 1.2.0 does."""
    (folder / f"{bbox}.json").write_text(
        json.dumps({"timer": timer, "compute_device": device, "bbox": bbox})
    )


def record(bbox: str, **more: Any) -> Record:
    fields = {
        "bbox": bbox,
        "job": "j",
        "task_id": bbox,
        "state": "done",
        "attempts": 1,
        "worker": "w",
        "voxels": 2_000_000,
    }
    return Record.model_validate(fields | more)


def test_speed_is_in_millions_of_voxels_a_second(tmp_path: Path) -> None:
    """Named defect of the peer: log-summary reported speeds 1,000 times too high."""
    peer_log(tmp_path, "0-100_0-100_0-200", {"load": 1.0, "inference": 3.0})
    peer_log(tmp_path, "100-200_0-100_0-200", {"load": 3.0, "inference": 9.0})
    lines = summary(tmp_path)
    # 4 Mvoxel in 4 s of loading and 12 s of inference, 16 s in total.
    assert lines[0] == ["GPU:"]
    assert lines[1] == ["operator", "tasks", "seconds", "mean", "median", "share", "Mvoxel/s"]
    assert lines[2] == ["load", "2", "4.00", "2.00", "2.00", "25%", "1"]
    assert lines[3] == ["inference", "2", "12.00", "6.00", "6.00", "75%", "0.333"]
    assert lines[4] == ["whole", "task", "2", "16.00", "8.00", "8.00", "100%", "0.25"]
    assert " ".join(lines[5]) == "2 tasks, 4.0 Mvoxel"


def test_logs_of_different_chains_are_combined(tmp_path: Path) -> None:
    """Named defect of the peer: log-summary failed on logs of different chains."""
    peer_log(tmp_path, "0-100_0-100_0-100", {"load": 1.0, "mask": 2.0})
    peer_log(tmp_path, "100-200_0-100_0-100", {"load": 3.0, "inference": 4.0})
    rows = {line[0]: line[1:] for line in summary(tmp_path)[2:]}
    assert rows["load"] == ["2", "4.00", "2.00", "2.00", "40%", "0.5"]
    assert rows["mask"] == ["1", "2.00", "2.00", "2.00", "20%", "0.5"]
    assert rows["inference"] == ["1", "4.00", "4.00", "4.00", "40%", "0.25"]


def test_each_device_has_its_own_table(tmp_path: Path) -> None:
    peer_log(tmp_path, "0-100_0-100_0-100", {"inference": 1.0}, "Tesla V100")
    peer_log(tmp_path, "100-200_0-100_0-100", {"inference": 4.0}, "L4")
    peer_log(tmp_path, "200-300_0-100_0-100", {"load": 4.0}, "")
    lines = [" ".join(line) for line in summary(tmp_path)]
    assert [line for line in lines if line.endswith(":")] == ["no device:", "L4:", "Tesla V100:"]
    assert [line for line in lines if line.startswith("inference")] == [
        "inference 1 4.00 4.00 4.00 100% 0.25",
        "inference 1 1.00 1.00 1.00 100% 1",
    ]


def test_the_output_size_option_sets_the_voxels_of_every_task(tmp_path: Path) -> None:
    peer_log(tmp_path, "0-100_0-100_0-100", {"inference": 2.0})
    peer_log(tmp_path, "100-200_0-100_0-100", {"inference": 2.0})
    lines = summary(tmp_path, "-s", "50", "100", "100")
    assert lines[2][-1] == "0.25"
    assert " ".join(lines[-1]) == "2 tasks, 1.0 Mvoxel"


def test_the_speed_of_a_job_is_computed_from_the_records_of_a_ledger(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    day = "2026-01-02T03:00:"
    ledger.write(
        record(
            "0-1_0-1_0-1",
            timer={"load": 4.0},
            started=f"{day}00.000+00:00",
            finished=f"{day}05.000+00:00",
        )
    )
    ledger.write(
        record(
            "1-2_0-1_0-1",
            timer={"load": 4.0},
            started=f"{day}01.000+00:00",
            finished=f"{day}10.000+00:00",
        )
    )
    ledger.write(
        record(
            "1-2_0-1_0-1",
            timer={"load": 4.0},
            started=f"{day}01.000+00:00",
            finished=f"{day}08.000+00:00",
        )
    )
    ledger.write(record("2-3_0-1_0-1", state="skipped", timer={"load": 9.0}))
    ledger.write(record("3-4_0-1_0-1", state="failed", error="no", timer={"load": 9.0}))
    (tmp_path / "notes.json").write_text("[1, 2]")
    (tmp_path / "torn.json").write_text('{"timer"')
    lines = summary(tmp_path)
    assert lines[2] == ["load", "2", "8.00", "4.00", "4.00", "100%", "0.5"]
    assert " ".join(lines[-1]) == (
        "2 tasks, 4.0 Mvoxel, within 8 s, 0.5 Mvoxel/s, 1 skipped, not task logs: 2"
    )


def test_archived_records_count_once(tmp_path: Path) -> None:
    ledger = ArchivedLedger(str(tmp_path))
    boxes = ["0-1_0-1_0-1", "0-1_0-1_1-2"]
    for box in boxes:
        ledger.write(record(box, timer={"load": 1.0}))
    grid = {"chunk_size": [1, 1, 1], "grid_size": [1, 1, 2]}
    packer = Packer(ledger, JobRecord(job="j", queue="q", tasks=2, grid=grid))
    packer.pack()
    assert summary(tmp_path)[-1][:4] == ["2", "tasks,", "4.0", "Mvoxel"]
    packer.delete_records()
    Ledger(str(tmp_path)).write(record(boxes[0], timer={"load": 1.0}, voxels=10_000_000))
    assert summary(tmp_path)[-1][:4] == ["2", "tasks,", "12.0", "Mvoxel"]


def test_tasks_without_a_box_do_not_count_for_the_speed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"timer": {"load": 2.0}, "compute_device": None}))
    peer_log(tmp_path, "0-100_0-100_0-100", {"load": 2.0}, "")
    lines = summary(tmp_path)
    assert lines[2] == ["load", "2", "4.00", "2.00", "2.00", "100%", "0.5"], (
        "the speed is computed from the task with a box"
    )


def test_records_can_be_in_an_object_store(aws: dict[str, str], unique_name: str) -> None:
    import boto3

    boto3.client("s3").create_bucket(Bucket=unique_name)
    ledger = Ledger(f"s3://{unique_name}/log")
    for z in range(3):
        ledger.write(record(f"{z}-{z + 1}_0-1_0-1", timer={"load": 1.0 + z}))
    assert summary(ledger.path)[2] == ["load", "3", "6.00", "2.00", "2.00", "100%", "1"]


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no records of tasks"):
        list(LogSummary(log_dir=str(tmp_path / "nowhere")).tasks())
    with pytest.raises(ValueError, match="above 0"):
        LogSummary(output_size=Vec3(0, 1, 1))


def test_other_operators_may_follow(tmp_path: Path) -> None:
    peer_log(tmp_path, "0-100_0-100_0-100", {"load": 2.0})
    out = tmp_path / "made.npy"
    line = f"log-summary -l {tmp_path} create-chunk -s 2 2 2 save-npy -f {out}"
    assert CliRunner().invoke(cli, line.split(), catch_exceptions=False).exit_code == 0
    assert out.exists()
