"""`page`: the report as one file of HTML, without scripts and without the network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.config.extras import needs
from producer.report import words
from producer.report.gantt_svg import gantt_picture, some_of
from producer.report.methods import methods_sentence
from producer.report.place_svg import STATES, seconds_picture, state_picture
from producer.report.progress_svg import progress_picture

if TYPE_CHECKING:
    from producer.report.document import Report

_FOLDER = Path(__file__).parent
_SHOWN = 15  # hosts
_FILTERS = (
    *("safe", "brief", "amount", "seconds", "hours"),
    *("share", "dollars", "size", "plural", "period"),
)


def page(report: Report) -> str:
    """The HTML. All that records say is escaped, and shown as text.

    Raises ConfigError where jinja2 is not installed.
    """
    jinja2 = needs("jinja2", extra="report", by="chunkflow-producer report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(words, name) for name in _FILTERS}
    text: str = environment.get_template("page.html.j2").render(
        report=report,
        figures=report.figures,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        methods=methods_sentence(report),
        states=STATES,
        pictures=_pictures(report, jinja2.utils.markupsafe.Markup),
        shown_workers=len(some_of(report.figures.workers)),
        shown_hosts=report.figures.hosts[:_SHOWN],
        style=jinja2.utils.markupsafe.Markup((_FOLDER / "page.css").read_text()),
    )
    return text


def _pictures(report: Report, markup: Any) -> dict[str, Any]:
    """SVG that this package made, with its texts escaped."""
    figures = report.figures
    early = frozenset(worker.name for worker in figures.left_early)
    return {
        "states": [markup(state_picture(view)) for view in figures.views],
        "seconds": [markup(seconds_picture(view)) for view in figures.views],
        "progress": markup(progress_picture(figures.progress, figures.total)),
        "workers": markup(gantt_picture(figures.workers, figures.first, figures.last, early)),
    }
