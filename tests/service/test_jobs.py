from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from chunkflow_worker.errors import BoxOutsideJob, JobUnreadable, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.service.jobs import APART_SECONDS, Jobs

INSIDE, LATER = BoundingBox.parse("0-4_0-4_4-8"), BoundingBox.parse("0-4_0-4_8-12")
WHOLE = BoundingBox.parse("0-4_0-4_0-16")


class Clock:
    """Seconds that pass only while something waits."""

    def __init__(self) -> None:
        self.now, self.waited = 100.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "log"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(ledger: Ledger, clock: Clock) -> Jobs:
    return Jobs(ledger, clock, clock.pause)


def write(ledger: Ledger, stop: int, job: str = "j") -> None:
    grid = {
        "roi_start": [0, 0, 0],
        "roi_stop": [4, 4, 16],
        "chunk_size": [4, 4, 4],
        "task_index_stop": stop,
    }
    ledger.write_job(JobRecord(job=job, queue="q", tasks=stop, grid=grid))


def test_only_boxes_of_the_job_pass_and_parts_sent_later_count(ledger: Ledger, jobs: Jobs) -> None:
    write(ledger, 2)
    jobs.check("j", INSIDE)
    for box in ("0-4_0-4_5-9", "0-4_0-4_0-8", "-4-0_0-4_0-4", "0-4_0-4_8-12", "0-4_4-8_0-4"):
        with pytest.raises(BoxOutsideJob, match="is not a box of job j"):
            jobs.check("j", BoundingBox.parse(box))
    write(ledger, 4)
    jobs.check("j", LATER)


@pytest.mark.parametrize("box", [INSIDE, WHOLE], ids=str)
def test_a_job_that_the_ledger_lacks_is_refused_where_it_has_others(
    ledger: Ledger, jobs: Jobs, box: BoundingBox
) -> None:
    write(ledger, 4, "other")
    with pytest.raises(BoxOutsideJob, match=r"has no job j, but others; .*CHUNKFLOW_LEDGER"):
        jobs.check("j", box)
    write(ledger, 4)
    jobs.check("j", INSIDE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"job": "other", "queue": "q", "tasks": 1}',
        b'{"job": "j", "queue": "q", "tasks": 1, "grid": {}}',
        b'{"job": "j", "queue": "q", "tasks": 1, "grid": {"unknown": 1}}',
        b'{"job": "j", "queue": "q", "tasks": 1, "grid": {"chunk_size": [0, 1, 1]}}',
        b'{"job": "j", "queue": "q", "tasks": 9, "grid": {"chunk_size": [4, 4, 4]}}',
        b'{"job": "j", "queue": "q", "tasks": 1' + b" " * 5 * 10**6 + b"}",
    ],
    ids=lambda content: content[:60].decode(),
)
def test_a_record_that_cannot_be_read_lets_no_box_pass(
    ledger: Ledger, jobs: Jobs, content: bytes
) -> None:
    path = Path(ledger.path.removeprefix("file://")) / "jobs" / "j.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(JobUnreadable, match="the record of job j can't be read here"):
        jobs.check("j", INSIDE)


def test_a_job_is_read_once_and_storage_trouble_is_retryable(
    ledger: Ledger, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, 2)

    def away(name: str) -> JobRecord:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "job", away)
        with pytest.raises(StorageUnavailable):
            jobs.check("j", INSIDE)
    jobs.check("j", INSIDE)
    monkeypatch.setattr(ledger, "job", away)
    jobs.check("j", INSIDE)


def test_a_ledger_without_jobs_takes_any_and_is_warned_of_once(
    ledger: Ledger, jobs: Jobs, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for box in (INSIDE, LATER, INSIDE, WHOLE):
        jobs.check("j", box)
    (warning,) = caplog.messages
    assert warning.startswith(f"{ledger.path} has no record of job j; ")
    assert "compare CHUNKFLOW_LEDGER" in warning
    assert clock.waited == [0]


def test_a_ledger_that_gets_its_first_job_is_looked_at_again(
    ledger: Ledger, jobs: Jobs, clock: Clock
) -> None:
    jobs.check("by-hand", WHOLE)
    write(ledger, 4)
    clock.now += 60
    with pytest.raises(BoxOutsideJob):
        jobs.check("by-hand", WHOLE)
    jobs.check("j", INSIDE)


def test_hostile_messages_do_not_keep_storage_busy(
    ledger: Ledger, jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, 4)
    jobs.check("j", INSIDE)
    reads, read = [], ledger.job
    monkeypatch.setattr(ledger, "job", lambda name: reads.append(clock.now) or read(name))
    for i in range(20):
        with pytest.raises(BoxOutsideJob):
            jobs.check(f"hostile-{i}", WHOLE)
        jobs.check("j", LATER)
    assert len(reads) == 20
    assert all(b - a >= APART_SECONDS for a, b in pairwise(reads))


def test_boxes_that_are_known_do_not_wait_for_hostile_ones(ledger: Ledger) -> None:
    write(ledger, 4)
    waits, go_on = threading.Event(), threading.Event()

    def pause(seconds: float) -> None:
        if seconds > 0:
            waits.set()
            go_on.wait(30)

    jobs = Jobs(ledger, pause=pause)
    jobs.check("j", INSIDE)

    def send() -> None:
        with pytest.raises(BoxOutsideJob):
            jobs.check("hostile", WHOLE)

    hostile = threading.Thread(target=send)
    hostile.start()
    assert waits.wait(30)
    jobs.check("j", LATER)
    go_on.set()
    hostile.join(30)
