"""`verify` on a job that the worker's own handler did and that is then damaged."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from cloudfiles.interfaces import S3Interface

from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.sqs import Queue
from chunkflow_worker.pipeline.model_files import file_digest
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.cli import main
from tests.support.damage import Damage, fill, truncate
from tests.support.finished_job import BOUNDS, FIRST, SECOND, FinishedJob
from tests.support.records import task_record

THRESHOLD = {"op": "threshold", "threshold": 100.0}


def report_of(
    job: FinishedJob, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, Any]:
    """What `verify --json` prints."""
    capsys.readouterr()
    status = main(["verify", "--pipeline", str(job.pipeline), "--json", *options])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    mixed = len(report["nets"]) > 1 and "--net" not in options
    unknown = report["not_checked"] or report["unreadable"]
    assert status == (1 if report["wrong"] != report["enqueued"] or mixed else 3 if unknown else 0)
    return report


@pytest.mark.parametrize("finished_job", ["file", "s3"], indirect=True)
def test_what_is_right_passes(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, seen, said in (
        ([], "blocks read and compared", ": nothing is wrong"),
        (
            ["--quick"],
            "blocks as old as their task says",
            ", and look as their records say; verify without --quick reads them",
        ),
    ):
        assert report_of(finished_job, capsys, *options) == {
            "job": "j",
            "boxes": 2,
            "wrong": 0,
            "not_checked": 0,
            "unreadable": 0,
            "enqueued": 0,
            "problems": [],
            "nets": [],
            "seen": {seen: 16},
        }
        assert main(["verify", "--pipeline", str(finished_job.pipeline), *options]) == 0
        assert capsys.readouterr().out == (f"all 2 boxes of job j are done{said}\n{seen}: 16\n")


DAMAGES: dict[str, tuple[str, Damage]] = {
    "deleted": ("missing", Path.unlink),
    "empty": ("damaged", truncate(0)),
    "two bytes": ("damaged", truncate(0.01)),
    "half": ("damaged", truncate(0.5)),
    "nan": ("nan", fill(np.nan, 1)),
    "zeroed": ("zero", fill(0, 256)),
    "changed": ("stale", fill(0.5, 1)),
}


def test_each_damage_is_found(
    finished_job: FinishedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block, copy = finished_job.blocks / "16-24_8-16_4-8", tmp_path / "copy"
    for name, (kind, damage) in DAMAGES.items():
        shutil.copy2(block, copy)
        damage(block)
        (problem,) = report_of(finished_job, capsys)["problems"]
        assert (problem["box"], problem["kind"]) == (SECOND, kind), name
        assert problem["blocks"] == ["8_8_40/16-24_8-16_4-8"], name
        copy.replace(block)
    assert report_of(finished_job, capsys)["problems"] == []


@pytest.mark.parametrize("damage", ["deleted", "half"])
def test_only_the_box_of_a_damaged_block_is_done_again(
    finished_job: FinishedJob, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = PrecomputedVolume(f"{finished_job.root}/out").read(BOUNDS)
    DAMAGES[damage][1](finished_job.blocks / "16-24_8-16_4-8")
    assert report_of(finished_job, capsys, "--enqueue")["enqueued"] == 1
    assert not finished_job.ledger.is_done(SECOND)
    assert finished_job.work() == [SECOND]
    assert report_of(finished_job, capsys)["problems"] == []
    assert np.array_equal(PrecomputedVolume(f"{finished_job.root}/out").read(BOUNDS), before)


@pytest.mark.parametrize("with_times", [True, False])
def test_a_block_of_an_earlier_run_is_stale(
    finished_job: FinishedJob, with_times: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "0-8_0-8_0-4"
    shutil.copy2(finished_job.blocks / name, tmp_path / name)
    finished_job.write_pipeline(THRESHOLD)
    assert finished_job.enqueue(job="second") == 0
    assert finished_job.work() == [FIRST, SECOND]
    (shutil.copy2 if with_times else shutil.copyfile)(tmp_path / name, finished_job.blocks / name)
    problems = report_of(finished_job, capsys, "--allow-zeros")["problems"]
    (problem,) = [problem for problem in problems if problem["kind"] != "zero"]
    assert (problem["box"], problem["kind"]) == (FIRST, "stale")
    assert problem["blocks"] == [f"8_8_40/{name}"]


def test_boxes_of_another_pipeline_are_stale(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_job.write_pipeline(THRESHOLD)
    assert finished_job.enqueue("--task-index-start", "1", job="second") == 0
    (problem,) = report_of(finished_job, capsys)["problems"]
    assert (problem["box"], problem["kind"]) == (SECOND, "stale")
    assert "another pipeline" in problem["detail"]


def test_boxes_of_two_nets_are_told_and_done_again_with_the_one_that_is_named(
    finished_job: FinishedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pt"
    net = {"op": "inference", "framework": "identity", "convnet_weight_path": str(weights)}
    sizes = {"input_patch_size": [4, 8, 8], "output_patch_overlap": [0, 0, 0]}
    finished_job.write_pipeline(net | sizes | {"num_output_channels": 1})
    digests = []
    for job, options in (("both", []), ("again", ["--task-index-start", "1"])):
        weights.write_text(job)
        digests.append(file_digest(weights))
        assert finished_job.enqueue(*options, job=job) == 0
        finished_job.work()
    report = report_of(finished_job, capsys, "--job", "both")
    assert report["problems"] == []
    assert sorted(net["files"]["inference.convnet_weight_path"] for net in report["nets"]) == (
        sorted(digests)
    )
    place = ["--pipeline", str(finished_job.pipeline), "--job", "both"]
    assert main(["verify", *place]) == 1
    output = capsys.readouterr().out
    assert "come from 2 nets or plugins" in output
    assert "nothing is wrong" not in output
    for digest in digests:
        assert f"1 box by worker: inference.convnet_weight_path {digest}" in output
    (problem,) = report_of(finished_job, capsys, "--job", "both", "--net", digests[1])["problems"]
    assert (problem["box"], problem["kind"]) == (FIRST, "stale")
    assert problem["detail"] == f"done with another net or plugin, {digests[0]}"
    assert main(["verify", *place, "--net", digests[1], "--enqueue"]) == 0
    assert finished_job.work() == [FIRST]
    assert main(["verify", *place]) == 0


def test_boxes_of_two_plugin_files_are_told(
    finished_job: FinishedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.py"
    finished_job.write_pipeline(
        {"op": "plugin", "file": str(file), "input_names": "chunk", "output_names": "chunk"}
    )
    for job, options in (("both", []), ("again", ["--task-index-start", "1"])):
        file.write_text(f"def execute(c):  # {job}\n    return c\n")
        assert finished_job.enqueue(*options, job=job) == 0
        finished_job.work()
    capsys.readouterr()
    assert main(["verify", "--pipeline", str(finished_job.pipeline), "--job", "both"]) == 1
    output = capsys.readouterr().out
    assert "come from 2 nets or plugins" in output
    assert f"1 box by worker: plugin.file {file_digest(file)}" in output


NOTHING = {"op": "threshold", "threshold": 255.0}


@pytest.mark.parametrize("skips", [True, False], ids=["skipped", "below the threshold"])
def test_blocks_of_an_earlier_run_where_nothing_was_written_are_stale(
    finished_job: FinishedJob, skips: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    save = {"op": "save-precomputed", "volume_path": f"{finished_job.root}/out"}
    middle = [NOTHING, {"op": "skip-all-zero"}] if skips else [NOTHING]
    finished_job.write_pipeline(*middle, save=save if skips else save | {"intensity_threshold": 0})
    assert finished_job.enqueue(job="nothing") == 0
    assert finished_job.work() == [FIRST, SECOND]
    for quick in ([], ["--quick"]):
        report = report_of(finished_job, capsys, *quick)
        assert [(p["box"], p["kind"], len(p["blocks"])) for p in report["problems"]] == [
            (FIRST, "stale", 8),
            (SECOND, "stale", 7),  # the input of one block is zero
        ]
    for block in finished_job.blocks.iterdir():
        block.unlink()
    for quick in ([], ["--quick"]):
        report = report_of(finished_job, capsys, *quick)
        assert (report["problems"], report["seen"]) == (
            [],
            {"blocks absent or zero, as they must be": 16},
        )


def test_a_box_that_is_skipped_since_its_blocks_are_there_is_not_called_right(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{finished_job.root}/out"
    finished_job.write_pipeline({"op": "skip-task-by-blocks-in-volume", "volume_path": out})
    assert finished_job.enqueue(job="again") == 0
    assert finished_job.work() == [FIRST, SECOND]
    capsys.readouterr()
    assert main(["verify", "--pipeline", str(finished_job.pipeline)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 2 boxes of job again are wrong, 2 not checked, 0 unreadable"
    assert f"  {FIRST}  of save-precomputed; skipped: all blocks are in {out}" in lines


@pytest.mark.parametrize("finished_job", ["s3"], indirect=True)
def test_one_object_that_storage_refuses_is_told_and_the_rest_is_checked(
    finished_job: FinishedJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = finished_job.root.removeprefix("s3://")
    block = "8_8_40/16-24_8-16_4-8"
    refuse(monkeypatch, f"out/{block}")
    for quick in ([], ["--quick"]):
        assert main(["verify", "--pipeline", str(finished_job.pipeline), *quick]) == 3
        shown = capsys.readouterr().out
        assert "0 of 2 boxes of job j are wrong, 0 not checked, 1 unreadable" in shown
        (told,) = [text for text in shown.splitlines() if "access denied: " in text]
        assert told.startswith(f"  {SECOND}  {finished_job.root}/out: {block}  ")
        assert report_of(finished_job, capsys, "--enqueue", *quick)["enqueued"] == 0
    refuse(monkeypatch, f"out/log/{FIRST}.json")
    boto3.client("s3").delete_object(Bucket=bucket, Key="out/8_8_40/16-24_0-8_0-4")
    for quick in ([], ["--quick"]):
        report = report_of(finished_job, capsys, *quick)
        assert [(p["box"], p["kind"]) for p in report["problems"]] == [
            (FIRST, "unreadable"),
            (SECOND, "missing"),
            (SECOND, "unreadable"),
        ]
        assert (report["wrong"], report["unreadable"]) == (1, 2)

    assert finished_job.enqueue("--skip-done", "--dry-run", job="more") == 0
    said = capsys.readouterr()
    assert "2 tasks of job more, 0 of them already done" in said.out
    assert "the output of 1 box that the ledger has as done is unreadable: sent again" in said.err
    assert f"for example {FIRST}: {finished_job.root}/out/log: its record: " in said.err


def refuse(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Make S3 refuse the requests for one object."""
    call = BaseClient._make_api_call

    def flaky(client: Any, operation: str, options: dict[str, Any]) -> Any:
        if options.get("Key") == key:
            answer = {"Error": {"Code": "AccessDenied", "Message": "no"}}
            raise ClientError(answer, operation)
        return call(client, operation, options)

    monkeypatch.setattr(BaseClient, "_make_api_call", flaky)


def test_old_and_missing_blocks_are_found_without_reading(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(finished_job.blocks / "0-8_0-8_0-4", (1e9, 1e9))
    (finished_job.blocks / "16-24_8-16_4-8").unlink()
    problems = report_of(finished_job, capsys, "--quick")["problems"]
    assert [(p["box"], p["kind"], p["blocks"]) for p in problems] == [
        (FIRST, "stale", ["8_8_40/0-8_0-8_0-4"]),
        (SECOND, "missing", ["8_8_40/16-24_8-16_4-8"]),
    ]


def test_zeros_that_a_task_wrote_may_be_allowed(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_job.write_pipeline({"op": "threshold", "threshold": 255.0})
    assert finished_job.enqueue(job="second") == 0
    finished_job.work()
    report = report_of(finished_job, capsys)
    assert sum(len(p["blocks"]) for p in report["problems"]) == 15, "the input of one block is zero"
    assert {(p["kind"], p["detail"]) for p in report["problems"]} == {
        ("zero", "as the task wrote them")
    }
    assert report_of(finished_job, capsys, "--allow-zeros")["problems"] == []
    fill(0, 256)(finished_job.blocks / "0-8_0-8_0-4")
    assert report_of(finished_job, capsys, "--allow-zeros")["problems"] == [], "it was zero before"


def test_nan_that_became_an_integer_is_remembered(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    record = finished_job.ledger.read(FIRST)
    assert record is not None
    (written,) = record.written
    changed = record.model_copy(update={"written": [replace(written, nan=3)]})
    finished_job.ledger.write(changed)
    (problem,) = report_of(finished_job, capsys)["problems"]
    assert (problem["kind"], problem["detail"]) == (
        "nan",
        "3 voxels were NaN before they became integers",
    )


def test_boxes_that_are_not_done_are_reported_and_sent_when_no_message_waits(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    for box in (FIRST, SECOND):
        finished_job.ledger.remove(box)
    finished_job.ledger.write(task_record(SECOND, "failed", error="away"))
    report = report_of(finished_job, capsys, "--enqueue")
    assert [(p["box"], p["kind"]) for p in report["problems"]] == [
        (FIRST, "no-record"),
        (SECOND, "failed"),
    ]
    assert report["enqueued"] == 2
    assert report_of(finished_job, capsys, "--enqueue")["enqueued"] == 0, "their messages wait"
    assert finished_job.work() == [FIRST, SECOND]
    assert report_of(finished_job, capsys)["problems"] == []


def test_boxes_that_are_not_sent_are_explained(
    finished_job: FinishedJob, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_job.ledger.remove(FIRST)
    line = ["verify", "--pipeline", str(finished_job.pipeline), "--enqueue"]
    name, urls = finished_job.queue.name, finished_job.queue
    client.send_message(QueueUrl=urls.dead_letter_url, MessageBody="dead")
    assert main(line) == 1
    error = capsys.readouterr().err
    assert "unfinished boxes that were not sent: 1; " in error
    assert f"queue {name} has dead letters, which may be for them; " in error
    assert f"send those back with: chunkflow-producer redrive --queue {name}" in error
    client.send_message(QueueUrl=urls.url, MessageBody="waiting")
    assert main(line) == 1
    assert f"queue {name} still has messages, which may be for them" in capsys.readouterr().err


def test_problems_are_shown_by_kind_with_examples(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("16-24_8-16_4-8", "24-32_8-16_4-8"):
        (finished_job.blocks / name).unlink()
    finished_job.ledger.remove(FIRST)
    fill(0, 256)(finished_job.blocks / "16-24_0-8_0-4")
    capsys.readouterr()
    assert main(["verify", "--pipeline", str(finished_job.pipeline)]) == 1
    volume = f"{finished_job.root}/out"
    assert capsys.readouterr().out.splitlines() == [
        "2 of 2 boxes of job j are wrong, 0 not checked, 0 unreadable",
        "blocks read and compared: 6",
        "",
        "no-record, in 1 box: not done: there is no record",
        f"  {FIRST}",
        "",
        "missing, in 1 box: blocks or files that are not in storage",
        f"  {SECOND}  {volume}: 8_8_40/16-24_8-16_4-8 and 1 more",
        "",
        "zero, in 1 box: blocks that are zero where the input is not",
        f"  {SECOND}  {volume}: 8_8_40/16-24_0-8_0-4",
        "",
        "if zeros are right in this output (masks, thresholds), add --allow-zeros",
        "",
        "to send the wrong boxes to the queue again, add --enqueue",
    ]


def test_many_problems_are_not_all_shown(
    queue: Queue, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["-c", "1", "1", "1", "-z", "1", "1", "12"]
    line = ["enqueue", "--queue", queue.name, "--job", "j", "--ledger", ledger.path, *grid]
    assert main(line) == 0
    capsys.readouterr()
    assert main(["verify", "--ledger", ledger.path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "no-record, in 12 boxes: not done: there is no record" in lines
    assert "  0-1_0-1_9-10" in lines
    assert "  0-1_0-1_10-11" not in lines
    assert "  and 2 more; --json lists all" in lines


def test_it_needs_a_ledger_with_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 2
    assert "verify needs a ledger: give --ledger or --pipeline" in capsys.readouterr().err
    assert main(["verify", "--ledger", str(tmp_path)]) == 2
    assert "has no job" in capsys.readouterr().err


def test_what_it_cannot_check_is_said_and_counted(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in list(finished_job.ledger.records([FIRST, SECOND])):
        finished_job.ledger.write(record.model_copy(update={"written": [], "unseen": ["plugin"]}))
    line = ["verify", "--pipeline", str(finished_job.pipeline)]
    capsys.readouterr()

    assert main(line) == 3
    shown = capsys.readouterr().out
    assert "nothing is wrong" not in shown
    assert "not-checked, in 2 boxes" in shown

    assert main([*line, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["wrong"], report["not_checked"]) == (0, 2)

    assert finished_job.enqueue("--skip-done", "--dry-run", job="again") == 0
    said = capsys.readouterr()
    assert "2 tasks of job again, 0 of them already done" in said.out
    assert "--trust-records leaves them out" in said.err
    trusting = ["--skip-done", "--trust-records", "--dry-run"]
    assert finished_job.enqueue(*trusting, job="again") == 0
    assert "2 tasks of job again, 2 of them already done" in capsys.readouterr().out


def test_a_late_write_is_forgotten_when_the_box_was_read_and_is_right(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    job = finished_job
    for box in (FIRST, SECOND):
        job.ledger.write_late(task_record(box, "failed", pipeline="another"))
    status = ["status", "--queue", job.queue.name, "--pipeline", str(job.pipeline)]
    assert main(status) == 0
    assert (
        f"box {FIRST} and 1 more may hold blocks of another chain or net" in capsys.readouterr().out
    )
    report_of(job, capsys, "--quick")
    assert job.ledger.listing().late == {FIRST, SECOND}, "nothing was read"
    fill(0.5, 1)(next(job.blocks.glob("16-24_*")))
    assert report_of(job, capsys)["wrong"] == 1
    assert job.ledger.listing().late == {SECOND}


def test_only_the_boxes_of_a_file_are_checked(
    finished_job: FinishedJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.txt"
    file.write_text(f"{SECOND}\n")
    first = report_of(finished_job, capsys)["boxes"]
    assert (first, report_of(finished_job, capsys, "--boxes", str(file))["boxes"]) == (2, 1)
    assert main(["verify", "--pipeline", str(finished_job.pipeline), "--boxes", str(file)]) == 0
    assert f"only the boxes of {file} were checked: 1 of 2" in capsys.readouterr().out
    file.write_text("0-1_0-1_0-1")
    assert main(["verify", "--pipeline", str(finished_job.pipeline), "--boxes", str(file)]) == 2
    assert "is not a box of the job" in capsys.readouterr().err


@pytest.mark.parametrize("finished_job", ["s3"], indirect=True)
def test_quick_lists_many_blocks_and_asks_for_none(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.look.verify._MANY", 1)
    asked: list[str] = []
    monkeypatch.setattr(Files, "stored", lambda files, names: asked.extend(names))
    monkeypatch.setattr(S3Interface, "head", lambda interface, name: asked.append(name))
    seen = "blocks as old as their task says"
    assert report_of(finished_job, capsys, "--quick")["seen"] == {seen: 16}
    client, bucket = boto3.client("s3"), finished_job.root.partition("://")[2].partition("/")[0]
    blocks = client.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
    block = next(one["Key"] for one in blocks if one["Key"].endswith("8-16_8-16_4-8"))
    client.delete_object(Bucket=bucket, Key=block)
    report = report_of(finished_job, capsys, "--quick")
    [problem] = report["problems"]
    assert (problem["kind"], problem["blocks"]) == ("missing", ["8_8_40/8-16_8-16_4-8"])
    assert report["seen"] == {seen: 15}
    assert asked == []
