from __future__ import annotations

import json

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from producer.cli import main
from tests.support.records import task_record

SMALL = ["simulate", "--tasks", "100", "--workers", "2,20", "--interruptions", "0,0.5"]


def test_a_table_has_a_row_for_each_fleet_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--task-seconds", "60", "--task-spread", "0"]) == 0
    told, head, *rows = capsys.readouterr().out.splitlines()
    assert told.startswith("100 tasks of 60.1 s, 2 places a worker")
    assert head.split()[0] == "workers"
    assert "dollars" not in head
    assert [row.split()[:2] for row in rows] == [
        ["2", "0"],
        ["2", "0.5"],
        ["20", "0"],
        ["20", "0.5"],
    ]
    # 25 rounds of 60.1 s, and 180 s for the start.
    assert "28 min 02 s" in rows[0]


def test_json_has_assumptions_runs_and_dollars(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task-seconds", "60", "--machine", "g5.xlarge", "--json"]
    assert main([*SMALL, *options]) == 0
    spot = json.loads(capsys.readouterr().out)
    assert main([*SMALL, *options, "--on-demand"]) == 0
    on_demand = json.loads(capsys.readouterr().out)
    assert spot["assumptions"]["task_seconds"] == 60
    assert [run["done"] for run in spot["runs"]] == [100] * 4
    for one, other in zip(spot["runs"], on_demand["runs"], strict=True):
        assert one["makespan_seconds"] == other["makespan_seconds"]
        assert one["dollars"]["total"] < other["dollars"]["total"]


def test_times_come_from_the_records_of_an_earlier_job(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid(roi_start=Vec3(0, 0, 0), chunk_size=Vec3(1, 1, 1), grid_size=Vec3(1, 1, 4))
    content = grid.model_dump(mode="json")
    for name in ("old", "empty"):
        ledger.write_job(JobRecord(job=name, queue="q", tasks=4, grid=content))
    for box in list(grid.boxes())[:3]:
        ledger.write(task_record(str(box), job="old", seconds=7.0))
    place = ["--ledger", ledger.path, "--overhead-seconds", "0", "--json"]
    assert main([*SMALL, "--from-job", "old", *place]) == 0
    printed = capsys.readouterr()
    assert "times of 3 tasks of job old" in printed.err
    assert json.loads(printed.out)["runs"][0]["useful_seconds"] == 700
    assert main([*SMALL, "--from-job", "empty", *place]) == 2
    assert "has no records of tasks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --task-seconds, or --from-job"),
        (["--task-seconds", "0"], "must be above 0"),
        (["--task-seconds", "nan"], "simulate.task_seconds"),
        (["--task-seconds", "1", "--workers", "0"], "is not whole numbers from 1 to"),
        (["--task-seconds", "1", "--workers", "10,"], "separated by commas"),
        (["--task-seconds", "1", "--interruptions", "20%"], "is not shares from 0 to"),
        (["--task-seconds", "1", "--interruptions", "nan"], "is not shares from 0 to"),
        (["--task-seconds", "1", "--grace-seconds", "200"], "is longer than the notice"),
        (["--task-seconds", "1", "--machine", "x9"], "has no machine 'x9'"),
        (["--task-seconds", "1", "--on-demand"], "need --machine"),
        (["--from-job", "j"], "--from-job needs a ledger"),
        (["--from-job", "j", "--task-spread", "1"], "takes the spread of the records"),
    ],
)
def test_wrong_options_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *options]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert not printed.out


def test_notes_name_limits_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    slow = ["--tasks", "3000", "--task-seconds", "3000", "--workers", "4", "--interruptions", "0.5"]
    assert main(["simulate", *slow, "--max-receives", "1", "--in-flight-limit", "7"]) == 0
    err = capsys.readouterr().err
    assert "longer than 10 days" in err
    assert "places waited because 7 messages were in flight" in err
    assert "CHUNKFLOW_GRACE_SECONDS, up to 105" in err
    assert "dead letters" not in err, "a drained worker costs no attempt"
    assert main(["simulate", *slow, "--max-receives", "1", "--no-drain"]) == 0
    assert "end as dead letters after 1 receives" in capsys.readouterr().err
