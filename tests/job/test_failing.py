from __future__ import annotations

from pathlib import Path

from chunkflow_worker.job.failing import FailingBoxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import RUNNING, JobState

BOXES = [f"{z}-{z + 2}_0-2_-2-0" for z in range(-2, 4, 2)]


def test_each_box_counts_once_by_job_cause_and_start(path: str) -> None:
    failing, resumed = FailingBoxes(path), JobState.now("running", "me")
    for box in (*BOXES, *BOXES):
        failing.note("j", RUNNING, "out of memory", box)
    failing.note("j", RUNNING, "no such block", BOXES[0])
    assert FailingBoxes(path).boxes("j", RUNNING, "out of memory") == set(BOXES)
    assert failing.boxes("j", RUNNING, "no such block") == {BOXES[0]}
    assert failing.boxes("j", RUNNING, "another cause") == set()
    assert failing.boxes("i", RUNNING, "out of memory") == set()
    assert failing.boxes("j", resumed, "out of memory") == set(), "a start counts anew"


def test_other_files_count_for_nothing_and_the_ledger_has_no_such_records(tmp_path: Path) -> None:
    ledger, failing = Ledger(str(tmp_path)), FailingBoxes(str(tmp_path))
    failing.note("j", RUNNING, "c", BOXES[0])
    (noted,) = (tmp_path / "states" / "j" / "begin").iterdir()
    noted.with_name(noted.name.replace(BOXES[0], "no-box")).write_text("{}")
    assert failing.boxes("j", RUNNING, "c") == {BOXES[0]}
    assert ledger.listing().failed == set()
    assert not ledger.has_jobs()


def test_notes_of_earlier_starts_are_deleted(path: str) -> None:
    failing, resumed = FailingBoxes(path), JobState.now("running", "me")
    for state in (RUNNING, resumed):
        failing.note("j", state, "c", BOXES[0])
        failing.note("jj", state, "c", BOXES[0])
    failing.forget("j", resumed)
    assert failing.boxes("j", RUNNING, "c") == set()
    assert failing.boxes("j", resumed, "c") == {BOXES[0]}
    failing.forget("j")
    assert failing.boxes("j", resumed, "c") == set()
    assert failing.boxes("jj", RUNNING, "c") == failing.boxes("jj", resumed, "c") == {BOXES[0]}
    failing.forget("j")
