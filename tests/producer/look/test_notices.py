from __future__ import annotations

import pytest

from producer.look.notices import Notice, Notices
from producer.look.status import JobStatus

KEY = "AKIAABCDEFGHIJKLMNOP"


def status(done: int = 0, failed: int = 0, **fields: object) -> JobStatus:
    counts = {"done": done, "failed": failed, "total": 100}
    return JobStatus("q", 1, 0, 0, 0, "em", **counts, **fields)  # type: ignore[arg-type]


def news(*statuses: JobStatus) -> list[str]:
    notices = Notices()
    return [notice.kind for one in statuses for notice in notices.of(one)]


@pytest.mark.parametrize(
    ("done", "kinds"),
    [
        ([0, 24, 25, 26, 50, 75, 99, 100, 100], ["progress"] * 3 + ["done"]),
        ([0, 80, 100], ["progress", "done"]),
        ([30, 31], []),
        ([60, 10, 60], ["progress"]),  # boxes were found wrong
        ([100], ["done"]),
    ],
)
def test_milestones_are_told_once(done: list[int], kinds: list[str]) -> None:
    assert news(*map(status, done)) == kinds


def test_failures_are_told_at_the_first_and_at_ten_times_as_many() -> None:
    assert news(*(status(failed=n) for n in (0, 1, 2, 9, 10, 50, 99))) == ["failures"] * 2
    assert news(status(failed=5), status(failed=6)) == []


def test_decisions_are_told_with_their_reason() -> None:
    paused = status(state="paused", by="worker w-1", why="20 boxes failed")
    notices = Notices()
    told = [n.text for one in (status(), paused, paused, status()) for n in notices.of(one)]
    assert told == ["job em: is paused by worker w-1: 20 boxes failed", "job em: runs again"]
    assert news(paused) == ["paused"]
    assert news(status(), status(state="cancelled")) == ["cancelled"]


def test_the_text_is_one_line_without_secrets() -> None:
    why = f"key {KEY}\n\x1b[31m" + "x" * 5000
    (notice,) = Notices().of(status(state="paused", why=why))
    assert KEY not in notice.text
    assert notice.text.isprintable()
    assert len(notice.text) == 1000


def test_the_json_has_the_numbers() -> None:
    notice = Notice.of("progress", "x", status(50, 2, rate=0.5))
    found = notice.as_json()
    assert (found["kind"], found["job"], found["done"], found["total"]) == (
        "progress", "em", 50, 100
    )  # fmt: skip
    assert found["eta_seconds"] == 100
