from __future__ import annotations

import io
import sys

import pytest

from chunkflow_worker.report.progress import boxes_text, duration_text, progress


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_there_is_a_line_for_each_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(1000, "sent") as show:
        for done in range(1001):
            show(done, "some note")
    shown = lines(capsys)
    assert shown[0] == "sent 0 of 1000 (0%), some note"
    assert shown[-1] == "sent 1000 of 1000 (100%), some note"
    assert 10 <= len(shown) <= 12


def test_without_a_terminal_there_is_a_line_after_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("chunkflow_worker.report.progress.monotonic", lambda: next(clock))
    with progress(1000, "done") as show:
        for _ in range(25):
            show(1, "")
    assert lines(capsys) == ["done 1 of 1000 (0%)"] * 3


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_total_that_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(None, "read") as show:
        show(3, "")
        show(4, "so soon that no line is due")
    assert lines(capsys) == ["read 3"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3720, "1 h 02 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_one_box_and_several_boxes() -> None:
    assert [boxes_text(n) for n in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
