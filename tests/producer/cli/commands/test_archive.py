"""`archive` on a job that the worker's own handler did, and the other commands after it."""

from __future__ import annotations

import json

import pytest

from chunkflow_worker.job.state import JobState
from producer.cli import main
from tests.support.damage import truncate
from tests.support.finished_job import FIRST, SECOND, FinishedJob


def run(job: FinishedJob, *line: str) -> int:
    return main([*line, "--pipeline", str(job.pipeline)])


@pytest.fixture
def archived(finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]) -> FinishedJob:
    assert run(finished_job, "archive", "--delete-records") == 0
    assert finished_job.ledger.listing().done == set()
    return finished_job


@pytest.mark.parametrize("finished_job", ["file"], indirect=True)
def test_it_says_what_it_did(finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(finished_job, "archive") == 0
    path = f"{finished_job.root}/out/log/archive/j.0001.parquet"
    said = capsys.readouterr().out
    assert said.startswith(f"archived 2 of 2 boxes of job j, 2 of them new: {path} (")
    assert "--delete-records deletes those that are in the archive" in said
    assert run(finished_job, "archive", "--delete-records", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["deleted"], report["kept"]) == (0, 2, 0)
    assert report["path"] == path


@pytest.mark.parametrize("finished_job", ["file", "s3"], indirect=True)
def test_all_commands_read_it(archived: FinishedJob, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(archived, "verify") == 0
    assert "all 2 boxes of job j are done: nothing is wrong" in capsys.readouterr().out
    assert run(archived, "verify", "--quick") == 0
    assert "blocks as old as their task says: 16" in capsys.readouterr().out
    assert run(archived, "status", "--queue", archived.queue.name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2
    assert run(archived, "jobs") == 0
    assert "done, 2/2 done" in capsys.readouterr().out
    assert archived.enqueue("--skip-done", job="k") == 0
    assert "enqueued 0 of 2 tasks" in capsys.readouterr().out
    assert run(archived, "failures") == 0


@pytest.mark.parametrize("finished_job", ["file"], indirect=True)
def test_a_wrong_box_is_done_again_and_its_new_record_counts(
    archived: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(0.5)(next(archived.blocks.iterdir()))
    assert run(archived, "verify", "--enqueue") == 0
    capsys.readouterr()
    assert run(archived, "jobs") == 0
    assert "1/2 done" in capsys.readouterr().out
    [done] = archived.work()
    assert done in (FIRST, SECOND)
    assert archived.ledger.listing().done == {done}
    assert run(archived, "verify") == 0
    assert run(archived, "archive", "--delete-records") == 0
    assert run(archived, "verify", "--quick") == 0
    assert archived.ledger.listing().done == set()


@pytest.mark.parametrize("finished_job", ["file"], indirect=True)
def test_records_of_a_job_that_goes_on_are_kept(
    finished_job: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_job.ledger.remove(SECOND)
    assert run(finished_job, "archive", "--delete-records") == 2
    assert "1 of 2 boxes of job j are not done" in capsys.readouterr().err
    assert finished_job.ledger.listing().done == {FIRST}
    finished_job.ledger.states.write("j", JobState.now("cancelled", "me"))
    assert run(finished_job, "archive", "--delete-records") == 0
    assert "boxes that are not done: 1" in capsys.readouterr().out
    assert finished_job.ledger.listing().done == set()


@pytest.mark.parametrize("finished_job", ["file"], indirect=True)
def test_a_damaged_archive_is_told_by_all_commands(
    archived: FinishedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    [name] = archived.ledger.files.listed("archive/", deep=True)
    archived.ledger.files.put(name.name, b"PAR1", "application/octet-stream")
    for line in (["verify"], ["verify", "--quick"], ["archive"], ["jobs"]):
        capsys.readouterr()
        assert run(archived, *line) == 2
        assert "is damaged, or no archive" in capsys.readouterr().err
