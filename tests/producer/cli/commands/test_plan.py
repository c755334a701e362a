"""`chunkflow-producer plan`, on small volumes on disk."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import yaml

from chunkflow_worker.cli.worker import main as worker_command
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from producer.cli import main
from producer.cli.status_table import spent_lines
from producer.cost import worker
from producer.look.status import StatusPoll
from tests.support.handled_job import do_job
from tests.support.run_command import run_command

BOUNDS, BLOCK, CHUNK = BoundingBox.parse("0-32_0-32_0-60"), Vec3(8, 8, 8), ["-c", "16", "16", "16"]
NET = {
    "op": "inference",
    "framework": "identity",
    "input_patch_size": [8, 8, 8],
    "output_patch_overlap": [2, 2, 2],
    "num_output_channels": 1,
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A pipeline whose image is noise, with zeros in half of it."""
    shape: dict[str, Any] = {"bounds": BOUNDS, "voxel_size": (8, 8, 8), "block_size": BLOCK}
    for name in ("in", "out"):
        create_volume(f"file://{tmp_path}/{name}", **shape, dtype="uint8")
    noise = np.random.default_rng(0).integers(1, 255, BOUNDS.size, np.uint8)
    noise[16:] = 0
    open_volume(f"file://{tmp_path}/in").write(BOUNDS, noise)
    write_chain(tmp_path / "pipeline.yaml", "out")
    return tmp_path / "pipeline.yaml"


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's command runs in this process, but in the slow test."""

    def run(words: list[str]) -> CompletedProcess[str]:
        done = run_command(worker_command, *words)
        return CompletedProcess(words, done.status, done.stdout, done.stderr)

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(worker, "_run", run)


def write_chain(file: Path, output: str, *more: dict[str, Any]) -> None:
    folder = file.parent
    load = {"op": "load-precomputed", "volume_path": f"file://{folder}/in"}
    save = {"op": "save-precomputed", "volume_path": f"file://{folder}/{output}"}
    file.write_text(yaml.safe_dump({"operators": [load, NET, save, *more]}))


def words(job: Path, *options: str) -> list[str]:
    place = ["--pipeline", str(job), "-v", f"file://{job.parent}/in", *CHUNK]
    return ["plan", *place, "--job", "job", *options]


def planned(job: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(words(job, *options, "--json")) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(job: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert main(words(job, *options)) == 2
    return capsys.readouterr().err


def test_boxes_are_those_that_enqueue_sends(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(job, capsys, "--skip-empty", "--workers", "3")
    counts = {"total": 16, "empty_by_mask": 0, "empty_by_level": 8, "done": 0, "to_do": 8}
    assert plan["boxes"] == counts
    _, *same = words(job, "--skip-empty", "--queue", "q", "--dry-run")
    assert main(["enqueue", *same]) == 0
    assert "8 tasks of job job" in capsys.readouterr().out
    # The volume ends at 60, so the last box of each row lies partly outside.
    assert plan["voxels"]["boxes"] == 8 * 16**3
    assert plan["voxels"]["output"] == 16 * 32 * 60
    assert plan["options"][0]["requests"]["S3"]["PUT"] == 2 * 4 * 8 + 8
    assert plan["times"] is None
    assert plan["options"][0]["fleets"] == []


def test_the_text_names_its_assumptions_and_fits_a_terminal(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--seconds-per-task", "40", "--optimize", "--memory-limit", "64"]
    assert main(words(job, *options)) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "16 in the grid",
        "boxes fit the 8x8x8 blocks",
        "g5.xlarge",
        "assumed:",
        "present",
    ):
        assert part in text
    assert main(words(job)) == 0
    assert "unknown: give --seconds-per-task S" in capsys.readouterr().out


def test_boxes_that_share_blocks_are_told_with_the_nearest_sizes(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(job, capsys, "-c", "16", "16", "20")
    (output,) = (one for one in plan["alignment"] if one["use"] == "output")
    assert not output["is_aligned"]
    assert output["nearest"] == [[16, 16, 16], [16, 16, 24]]
    assert main(words(job, "-c", "16", "16", "20")) == 0
    assert "workers will REFUSE to write" in capsys.readouterr().out


def test_done_boxes_are_counted_and_left_out_if_asked(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(f"file://{job.parent}/out/log")
    grid = Grid(volume_path=f"file://{job.parent}/in", chunk_size=Vec3(16, 16, 16))
    records = do_job(job, ledger, grid.model_copy(update={"task_index_stop": 3}))
    plan = planned(job, capsys, "--from-job", "j")
    assert (plan["boxes"]["done"], plan["boxes"]["to_do"]) == (3, 16)
    assert plan["times"]["tasks"] == len(records) == 3
    assert plan["memory"]["worker"] == max(record.memory_peak for record in records) > 0
    rest = planned(job, capsys, "--skip-done")
    assert rest["boxes"]["to_do"] == 13
    assert rest["options"][0]["requests"]["S3"]["LIST"] == 13
    assert "is not in the ledger" in refused(job, capsys, "--from-job", "other")


def test_archived_records_count_as_others(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(f"file://{job.parent}/out/log")
    grid = Grid(volume_path=f"file://{job.parent}/in", chunk_size=Vec3(16, 16, 16))
    do_job(job, ledger, grid.model_copy(update={"task_index_stop": 3}))
    assert main(["archive", "--ledger", ledger.path, "--delete-records"]) == 0
    plan = planned(job, capsys, "--from-job", "j", "--skip-done")
    assert (plan["boxes"]["done"], plan["boxes"]["to_do"]) == (3, 13)
    assert plan["times"]["tasks"] == 3


def test_other_files_in_the_ledger_are_no_boxes(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job.parent / "out" / "log"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.json").write_text("{}")
    assert planned(job, capsys)["boxes"]["done"] == 0


@pytest.mark.slow
def test_a_measurement_writes_nothing_of_the_job(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither to volumes nor to other files, nor to volumes that the chain reads back."""
    folder = job.parent
    write_chain(
        job,
        "out",
        {"op": "save-npy", "file_name": f"{folder}/arrays/a_"},
        {"op": "load-precomputed", "volume_path": f"file://{folder}/out"},
    )
    before = sorted(path for path in folder.rglob("*") if path != job)
    plan = planned(job, capsys, "--measure", "2", "--workers", "1")
    assert sorted(path for path in folder.rglob("*") if path != job) == before
    assert plan["times"]["seconds"] > 0
    assert plan["times"]["tasks"] == 4
    assert {"inference", "save-npy"} <= plan["times"]["operators"].keys()
    assert plan["memory"]["source"] == "measured on this machine"
    assert plan["objects"] == 4 * 4 * 8 + 16 + 16 + 1  # blocks, records, arrays, and the job


def test_status_compares_the_job_with_the_plan_that_is_stored(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["plan", "--pipeline", str(job), *CHUNK, "-v", f"file://{job.parent}/in", "--write"]
    assert main([*line, "--seconds-per-task", "90", "--workers", "4"]) == 2
    assert "--write needs --job" in capsys.readouterr().err
    line += ["--job", "j", "--machine", "g6.xlarge", "--startup", "0", "--in-flight", "1"]
    assert main([*line, "--seconds-per-task", "90", "--workers", "4"]) == 0
    ledger = Ledger(f"file://{job.parent}/out/log")
    assert f"stored: {ledger.path}/plans/j.json\n" in capsys.readouterr().out
    grid = Grid(volume_path=f"file://{job.parent}/in", chunk_size=Vec3(16, 16, 16))
    seconds = [record.seconds for record in do_job(job, ledger, grid)]
    status = StatusPoll(None, None, ledger, "j").ask()
    spent = status.spent
    assert spent is not None
    assert spent.machine == "g6.xlarge on demand"
    assert spent.planned_seconds == 90
    assert spent.planned_hours == pytest.approx(16 * 90 / 3600, rel=0.1)
    assert spent.hours == spent.forecast_hours == pytest.approx(sum(seconds) / 3600)
    assert spent.planned_dollars is not None
    assert spent.dollars == pytest.approx(
        spent.planned_dollars / spent.planned_hours * sum(seconds) / 3600
    )
    (text,) = spent_lines(status)
    assert "(planned 90); " in text
    assert text.endswith(f"(planned ${spent.planned_dollars:.2f}, g6.xlarge on demand)")
    ledger.files.put_json("plans/j.json", {"boxes": "no plan"})
    assert StatusPoll(None, None, ledger, "j").ask().spent is None


def test_a_chain_that_cannot_run_is_refused_by_the_worker(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_chain(job, "out", {"op": "threshold", "input_chunk_name": "none"})
    assert "reads 'none', which no operator before it makes" in refused(job, capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds-per-task", "1", "--measure", "2"], "give one of"),
        (["--memory-limit", "3"], "--memory-limit needs --optimize"),
        (["--workers", "10,x"], "not a list of numbers"),
        (["--scratch", "x"], "--scratch needs --measure"),
        (["--seconds-per-task", "1", "--machine", "x1"], "has no machine 'x1'"),
    ],
)
def test_wrong_options_are_told(
    job: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert message in refused(job, capsys, *options)


def test_the_tasks_of_a_tree_are_counted_and_the_rest_is_not_known(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"op": "generate-tasks", "volume_path": f"file://{job.parent}/in"}
    chain = yaml.safe_load(job.read_text())["operators"]
    stages = [
        {"name": "map", "tasks": grid | {"chunk_size": [16, 16, 16]}, "operators": chain},
        {"name": "join", "tasks": {"tree_of": "map"}, "operators": chain},
    ]
    job.write_text(yaml.safe_dump({"stages": stages}))
    line = ["plan", "--pipeline", str(job), "--stage", "join"]
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines() == [
        "stage join: 3 tasks in 2 waves, over the 16 boxes of stage map",
        "wave 1     2 tasks of up to 32x32x32 voxels (zyx)",
        "wave 2     1 task of up to 32x32x64 voxels (zyx)",
        "not known  memory, hours and dollars: they depend on what the tasks before leave",
    ]
    assert main([*line, "--json"]) == 0
    waves = [{"tasks": 2, "region": [32, 32, 32]}, {"tasks": 1, "region": [32, 32, 64]}]
    assert json.loads(capsys.readouterr().out)["waves"] == waves
