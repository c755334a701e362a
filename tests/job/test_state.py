from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import RUNNING, JobState, JobStates


def test_a_job_runs_until_somebody_decides_otherwise(path: str) -> None:
    states = JobStates(path)
    assert states.read("j") == RUNNING
    paused = JobState.now("paused", "me", "the net is wrong")
    states.write("j", paused)
    assert states.read("j") == JobStates(path).read("j") == paused
    assert dict(states.read_all(["i", "j"])) == {"i": RUNNING, "j": paused}
    assert paused.text == "paused: the net is wrong"


def test_states_are_no_jobs_and_a_job_may_be_named_like_one(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.states.write("j", JobState.now("cancelled", "me"))
    assert not ledger.has_jobs()
    ledger.write_job(JobRecord(job="j.state", queue="q", tasks=1))
    assert [job.job for job in ledger.jobs()] == ["j.state"]
    assert ledger.states.read("j.state") == RUNNING


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b'{"state": "asleep"}',
        b'{"state": "paused", "at": "never"}',
        b'{"state": "paused", "at": "2026-01-01T00:00:00"}',
        b'{"state": "paused", "why": 5}',
        b"[" * 10_000,
        b'{"state": "paused"}' + b" " * 100_000,
    ],
    ids=lambda content: content[:50].decode(),
)
def test_one_that_cannot_be_read_counts_as_running_and_is_told_once(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "states" / "j.json"
    file.parent.mkdir()
    file.write_bytes(content)
    states = JobStates(str(tmp_path))
    for _ in range(3):
        assert states.read("j") == RUNNING
    (warning,) = caplog.messages
    assert f"{file} is not the state of a job (running, paused or cancelled)" in warning
    assert "chunkflow-producer pause, resume or cancel --job j" in warning


def test_a_text_of_a_stranger_is_cut() -> None:
    assert len(JobState(state="paused", why="x" * 10**5).why) == 4000
    assert len(JobState.now("paused", "y" * 10**5, "x" * 10**5).by) == 4000


@pytest.mark.parametrize(
    ("paused", "delay"), [(-3600, 5), (0, 5), (60, 30), (1000, 500), (10**6, 900)]
)
def test_messages_are_put_aside_for_half_of_the_pause_within_limits(
    paused: float, delay: int
) -> None:
    state = JobState.now("paused", "me")
    assert state.at is not None
    assert state.delay_seconds(state.at + timedelta(seconds=paused)) == delay


def test_without_a_time_they_are_put_aside_for_the_least() -> None:
    assert JobState(state="paused").delay_seconds() == 5
