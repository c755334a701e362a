"""`Notices`: what people want to hear of a job while nobody looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from chunkflow_worker.report.plain import one_line
from chunkflow_worker.report.progress import duration_text
from chunkflow_worker.report.scrub import scrub
from producer.look.status import JobStatus

Kind = Literal["progress", "failures", "paused", "resumed", "cancelled", "done", "ended"]
_MILESTONES = (25, 50, 75)  # percent
_MOST_TEXT = 1000  # characters


@dataclass(frozen=True)
class Notice:
    """One piece of news.

    text: one line for people, without secrets.
    map: address of a picture of the boxes; empty without one.
    """

    kind: Kind
    text: str
    status: JobStatus
    map: str = ""

    @classmethod
    def of(cls, kind: Kind, what: str, status: JobStatus) -> Notice:
        return cls(kind, one_line(scrub(f"job {status.job}: {what}"))[:_MOST_TEXT], status)

    def as_json(self) -> dict[str, Any]:
        """The notice for programs."""
        status = self.status
        fields = ("job", "queue", "state", "total", "done", "failed", "missing", "dead", "rate")
        numbers = {name: asdict(status)[name] for name in fields}
        times = {"eta_seconds": status.eta_seconds, "at": datetime.now(UTC).isoformat()}
        picture = {"map": self.map} if self.map else {}
        return {"kind": self.kind, "text": self.text} | numbers | times | picture


class Notices:
    """Finds what is new in each status of a job. What was so at the first one is no news."""

    def __init__(self) -> None:
        self._last: JobStatus | None = None
        self._failed_told = 0

    def of(self, status: JobStatus) -> Iterator[Notice]:
        """The news since the last status. A job that is done or stopped at first is news, too."""
        last, self._last = self._last, status
        if last is None:
            self._failed_told = status.failed
        yield from _of_state(status, last)
        if status.complete:
            if last is None or not last.complete:
                yield Notice.of("done", f"all {status.total} boxes are done", status)
            return
        if last is not None and (reached := _milestone(status)) > _milestone(last):
            yield Notice.of("progress", _progress(status, reached), status)
        if status.failed >= max(1, 10 * self._failed_told):
            self._failed_told = status.failed
            yield Notice.of("failures", _failures(status), status)

    @staticmethod
    def end(status: JobStatus, why: str) -> Notice:
        """The notice that nothing more is to be expected of a job that is not done."""
        what = f"{why}; {status.done} of {status.total} boxes are done. {_failures(status)}"
        return Notice.of("ended", what, status)


def _of_state(status: JobStatus, last: JobStatus | None) -> Iterator[Notice]:
    before = "running" if last is None else last.state
    if status.state == before:
        return
    by = f" by {status.by}" if status.by else ""
    why = f": {status.why}" if status.why else ""
    if status.state == "running":
        yield Notice.of("resumed", f"runs again{by}", status)
    else:
        yield Notice.of(status.state, f"is {status.state}{by}{why}", status)


def _milestone(status: JobStatus) -> int:
    percent = status.percent or 0.0
    return max((milestone for milestone in _MILESTONES if percent >= milestone), default=0)


def _progress(status: JobStatus, milestone: int) -> str:
    eta = status.eta_seconds
    left = "" if eta is None else f", time left: {duration_text(eta)}"
    return f"{milestone}% are done ({status.done} of {status.total} boxes){left}"


def _failures(status: JobStatus) -> str:
    letters = f", dead letters of the queue: {status.dead}" if status.queue else ""
    return f"boxes with a record of failure: {status.failed}{letters}"
