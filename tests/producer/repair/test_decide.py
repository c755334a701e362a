from __future__ import annotations

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.state import RUNNING
from producer.repair.decide import decide


@pytest.fixture
def jobs(ledger: Ledger) -> Ledger:
    for day, job in enumerate(("early", "late"), 1):
        time = f"2026-01-0{day}T00:00:00+00:00"
        ledger.write_job(JobRecord(job=job, queue=f"q-{job}", tasks=1, enqueued=time))
    return ledger


def test_a_decision_says_who_when_and_why(jobs: Ledger) -> None:
    decided = decide(jobs, "early", "paused", "the net is wrong")
    assert (decided.job.job, decided.before) == ("early", RUNNING)
    state = jobs.states.read("early")
    assert state == decided.after
    assert (state.state, state.why) == ("paused", "the net is wrong")
    assert " on " in state.by
    assert state.at is not None
    assert jobs.states.read("late") == RUNNING


def test_the_latest_job_is_meant_unless_one_is_named(jobs: Ledger) -> None:
    assert decide(jobs, None, "cancelled").job.job == "late"


def test_the_same_decision_changes_nothing(jobs: Ledger) -> None:
    first = decide(jobs, "late", "paused", "first").after
    assert decide(jobs, "late", "paused", "second").after == first
    assert jobs.states.read("late") == first


def test_a_job_of_another_queue_is_refused(jobs: Ledger) -> None:
    with pytest.raises(ConfigError, match=r"job: late: has queue q-late, and not q-early"):
        decide(jobs, None, "paused", queue="q-early")
    assert decide(jobs, "early", "paused", queue="q-early").after.state == "paused"


def test_a_cancelled_job_is_resumed_and_not_paused(jobs: Ledger) -> None:
    decide(jobs, "late", "cancelled")
    with pytest.raises(ConfigError, match=r"is cancelled.*\n.*resume --job late"):
        decide(jobs, "late", "paused")
    assert decide(jobs, "late", "running").before.state == "cancelled"


@pytest.mark.parametrize(("name", "text"), [("other", "known: early, late"), ("../x", "known")])
def test_an_unknown_job_is_refused(jobs: Ledger, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        decide(jobs, name, "paused")


def test_a_user_without_a_name_may_decide(jobs: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert decide(jobs, None, "paused").after.by.startswith("somebody on ")
