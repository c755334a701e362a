"""Tables go between their marks, and the rest of the page stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import SCENARIOS
from tests.chaos.report import PAGE, Report, broken, joined, put

ONE = Report("kills", ("seed", "done"), [(1, "all")])
TWO = Report("kills", ("seed", "done"), [(2, "some")], ["all are done"])
TABLE = "| seed | done |\n| --- | --- |\n| 1 | all |"


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- kills -->\nold\n<!-- kills: end -->\nafter\n")
    for report in (TWO, ONE):
        put(report, page)
    expected = f"before\n<!-- kills -->\n\n{TABLE}\n\n<!-- kills: end -->\nafter\n"
    assert page.read_text() == expected


def test_a_page_without_the_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="has no marks <!-- kills -->"):
        put(ONE, page)


def test_joined_reports_have_the_rows_and_broken_promises_of_all() -> None:
    rows = [(1, "all"), (2, "some")]
    assert joined([ONE, TWO]) == Report("kills", ("seed", "done"), rows, ["all are done"])
    assert not joined([ONE, ONE]).broken


def test_promises_that_were_not_kept_are_named() -> None:
    assert broken({"all are done": False, "no worker exits": True}) == ["all are done"]


@pytest.mark.parametrize("name", [*SCENARIOS, "soak"])
def test_each_scenario_has_its_place_in_the_page(name: str) -> None:
    page = PAGE.read_text()
    assert page.count(f"<!-- {name} -->") == page.count(f"<!-- {name}: end -->") == 1
