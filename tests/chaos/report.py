"""What a scenario found, as a table that is put into docs/reliability.md between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Report:
    """A scenario's figures. name: of its marks in the page. holds: the promise was kept."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    holds: bool

    def table(self) -> str:
        """The figures as a Markdown table."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def put(report: Report, page: Path = PAGE) -> None:
    """Replace what stands between the report's marks. Raises ValueError when the page has no such marks."""
    first, last = (f"<!-- {report.name}{end} -->" for end in ("", ": end"))
    text = page.read_text()
    if first not in text or last not in text:
        raise ValueError(f"{page} has no marks {first} and {last}")
    before, rest = text.split(first, 1)
    page.write_text(f"{before}{first}\n\n{report.table()}\n\n{last}{rest.split(last, 1)[1]}")


def joined(reports: Sequence[Report]) -> Report:
    """One report of several runs of a scenario, with the rows of all."""
    first = reports[0]
    rows = [row for report in reports for row in report.rows]
    return Report(first.name, first.columns, rows, all(report.holds for report in reports))
