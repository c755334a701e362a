"""Where a report lies, and how it is written: two files, HTML and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from chunkflow_worker.storage.files import Files
from producer.report.page import page

if TYPE_CHECKING:
    from producer.report.document import Report

_FOLDER = "reports"


def write_report(report: Report, output: Path | None = None) -> tuple[str, str]:
    """Write both files; returns their paths, that of the HTML first.

    output: of the HTML; by default, <ledger>/reports/<job>.html.
    Raises StorageUnavailable, and ConfigError where the place is read only or jinja2 is missing.
    """
    place = f"{report.ledger}/{_FOLDER}" if output is None else str(output.absolute().parent)
    name = f"{report.job.job}.html" if output is None else output.name
    beside = f"{name.removesuffix('.html')}.json"
    html = page(report)
    files = Files(place)
    content = json.dumps(report.as_json(), indent=1, sort_keys=True)
    files.put(beside, f"{content}\n".encode(), "application/json")
    files.put(name, html.encode(), "text/html; charset=utf-8")
    return f"{files.path}/{name}", f"{files.path}/{beside}"
