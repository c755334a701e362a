from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from producer.cli.status_table import progress_note, rate_text, show_table, state_lines
from producer.look.status import JobStatus


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(JobStatus("q", 3, 2, 1, 4, "j", 50, 5, 100, 0.5))
    words = " ".join(capsys.readouterr().out.split())
    for text in (
        "queue q, job j",
        "waiting 3",
        "in flight 2",
        "delayed 1",
        "dead letters 4",
        "done 50 of 100, 50.0%",
        "failed 5",
    ):
        assert text in words
    assert "rate 30.0/min left 1 min 40 s" in words


def test_clipped_voxels_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"save-precomputed": 0.004, "load-h5": 0.0009, "quantize": 1.0}
    show_table(JobStatus("q", 0, 0, 0, 0, "j", 50, 0, 50, sampled=50, clipped=shares))
    output = capsys.readouterr().out
    assert "\n0.4 % of the voxels were clipped by save-precomputed\n" in output
    assert "100.0 % of the voxels were clipped by quantize\n" in output
    assert "load-h5" not in output
    show_table(JobStatus("q", 0, 0, 0, 0, "j", 500, 0, 500, sampled=100, clipped=shares))
    assert "by save-precomputed, as 100 of 500 records say\n" in capsys.readouterr().out


def test_the_table_of_a_queue_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(JobStatus("q", 3, 2, 1, 4))
    output = capsys.readouterr().out
    assert "no job in a ledger" in output
    assert "done" not in output


def test_the_note_beside_a_bar() -> None:
    assert progress_note(JobStatus("q", 3, 2, 0, 0, "j", 50, 0, 100)) == "3 waiting, 2 in flight"
    dead = "4 dead (see chunkflow-producer failures)"
    assert (
        progress_note(JobStatus("q", 3, 2, 0, 4, "j", 50, 1, 100, 2))
        == f"3 waiting, 2 in flight, 1 failed, {dead}, 2.0/s, 25 s left"
    )
    idle = JobStatus("q", 0, 0, 0, 4, "j", 50, 0, 100, 2)
    assert progress_note(idle) == f"0 waiting, 0 in flight, {dead}"
    assert progress_note(replace(idle, done=100)).endswith("2.0/s, 0 s left")


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "unknown"), (0, "unknown"), (12.34, "12.3/s"), (0.5, "30.0/min"), (0.001, "3.6/h")],
)
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


def test_messages_that_expire_soon_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    soon, later = ((now + timedelta(hours=h)).isoformat() for h in (5.1, 50))
    status = JobStatus("q", 3, 0, 0, 4, "j", 50, 0, 100)
    show_table(replace(status, messages_expire=soon, dead_letters_expire=later))
    assert f"\nSQS deletes the first messages at {soon}, in 5 h\n" in capsys.readouterr().out
    show_table(replace(status, messages_expire=later, dead_letters_expire=soon))
    assert f"\nSQS deletes the first dead letters at {soon}, in 5 h\n" in capsys.readouterr().out
    show_table(replace(status, messages_expire=later, dead_letters_expire=later))
    assert "deletes" not in capsys.readouterr().out


def test_a_job_that_does_not_run_has_a_line_with_what_to_do() -> None:
    status = JobStatus("q", 3, 0, 9, 0, "j", 20, 0, 100, by="w1", since="2026-01-01")
    assert state_lines(status) == []
    paused = replace(status, state="paused", why="20 boxes failed")
    assert state_lines(paused) == [
        "paused by w1 at 2026-01-01: 20 boxes failed; "
        "mend it, then run: chunkflow-producer resume --job j"
    ]
    assert "paused" in progress_note(paused)
    assert state_lines(replace(status, state="cancelled", by="")) == [
        "cancelled; 80 boxes were not done"
    ]
