from __future__ import annotations

import pytest

from producer.cli.stage_bars import _lines, line_of
from producer.stages.stage_run import StageView


def test_a_line_is_written_when_there_is_news_of_a_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    show = _lines(lambda: now)
    views = {
        StageView("copy", "waits", note="for masks"): True,
        StageView("masks", "runs", 0, 40): True,
        StageView("masks", "runs", 3, 40): False,
        StageView("masks", "runs", 4, 40): True,  # a tenth
        StageView("masks", "runs", 5, 40, "1 failed"): False,
        StageView("masks", "verifies", 40, 40): True,
    }
    for view, is_told in views.items():
        show(view)
        assert (capsys.readouterr().err == f"{line_of(view)}\n") == is_told, view
    show(StageView("masks", "verifies", 40, 40))
    now = 60.0
    show(StageView("masks", "verifies", 40, 40))
    assert capsys.readouterr().err == "", "it is the same"
    show(StageView("masks", "verifies", 40, 40, "slow"))
    assert capsys.readouterr().err == "stage masks: verifies, 40 of 40 boxes done, slow\n"


def test_stages_do_not_share_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show = _lines()
    for name in ("a", "b", "a", "b"):
        show(StageView(name, "waits", note="for c"))
    assert capsys.readouterr().err == "stage a: waits for c\nstage b: waits for c\n"
