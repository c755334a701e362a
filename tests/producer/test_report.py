from __future__ import annotations

import io
import sys

import pytest

from producer.report import duration_text, note_of, progress, rate_text, show_table
from producer.status import JobStatus


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1000, "sent") as show:
        for done in range(1001):
            show(done, "some note")
    shown = lines(capsys)
    assert shown[0] == "sent 0 of 1000 (0%), some note"
    assert shown[-1] == "sent 1000 of 1000 (100%), some note"
    assert 10 <= len(shown) <= 12


def test_without_a_terminal_a_line_after_ten_seconds(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("producer.report.monotonic", lambda: next(clock))
    with progress(1000, "done") as show:
        for _ in range(25):
            show(1, "")
    assert lines(capsys) == ["done 1 of 1000 (0%)"] * 3


def test_on_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(20, "sent") as show:
        show(20, "3 min [left]")
    for text in ("sent", "20/20", "100%", "3 min [left]", "━"):
        assert text in terminal.getvalue()


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


def test_the_table_of_a_queue_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(JobStatus("q", 3, 2, 1, 4))
    output = capsys.readouterr().out
    assert "no job in a ledger" in output
    assert "done" not in output


def test_the_note_beside_a_bar() -> None:
    assert note_of(JobStatus("q", 3, 2, 0, 0, "j", 50, 0, 100)) == "3 waiting, 2 in flight"
    assert note_of(JobStatus("q", 3, 2, 0, 4, "j", 50, 1, 100, 2)) == "3 waiting, 2 in flight, 1 failed, 4 dead, 2.0/s, 25 s left"


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "unknown"), (0, "unknown"), (12.34, "12.3/s"), (0.5, "30.0/min"), (0.001, "3.6/h")]
)
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3720, "1 h 02 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text
