"""Figures of a scenario, as a table in docs/reliability.md between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Report:
    """The figures of a scenario.

    name: of its marks in the page. broken: the promises that were not kept.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    broken: Sequence[str] = ()

    def table(self) -> str:
        """The figures as a Markdown table."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def broken(promises: Mapping[str, bool]) -> list[str]:
    """The promises that were not kept, of a mapping that says of each whether it was."""
    return [promise for promise, kept in promises.items() if not kept]


def put(report: Report, page: Path = PAGE) -> None:
    """Write a table in the place of the last one. Raises ValueError when the page has no marks."""
    first, last = (f"<!-- {report.name}{end} -->" for end in ("", ": end"))
    text = page.read_text()
    if first not in text or last not in text:
        raise ValueError(f"{page} has no marks {first} and {last}")
    before, rest = text.split(first, 1)
    after = rest.split(last, 1)[1]
    page.write_text(f"{before}{first}\n\n{report.table()}\n\n{last}{after}")


def joined(reports: Sequence[Report]) -> Report:
    """One report of several runs of a scenario."""
    first = reports[0]
    rows = [row for report in reports for row in report.rows]
    promises = [promise for report in reports for promise in report.broken]
    return Report(first.name, first.columns, rows, promises)
