"""Tables go between their marks and leave the rest of the page alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.report import Report, joined, put

ONE = Report("kills", ("seed", "done"), [(1, "all")], True)
TWO = Report("kills", ("seed", "done"), [(2, "some")], False)


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- kills -->\nold\n<!-- kills: end -->\nafter\n")
    for report in (TWO, ONE):
        put(report, page)
    assert page.read_text() == (
        "before\n<!-- kills -->\n\n| seed | done |\n| --- | --- |\n| 1 | all |\n\n<!-- kills: end -->\nafter\n"
    )


def test_a_page_without_the_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="has no marks <!-- kills -->"):
        put(ONE, page)


def test_joined_reports_hold_when_all_do() -> None:
    assert joined([ONE, TWO]) == Report("kills", ("seed", "done"), [(1, "all"), (2, "some")], False)
    assert joined([ONE, ONE]).holds
