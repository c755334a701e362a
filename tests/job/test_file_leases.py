"""Processes that share a folder take each box once, and again only when its process is gone."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chunkflow_worker.errors import LeaseLost, RetryableError, StorageUnavailable
from chunkflow_worker.job import file_leases
from chunkflow_worker.job.file_leases import FileLease, FileLeases

BOX = "0-4_0-4_-4-0"
SECONDS = 60.0
_TAKEN: list[Iterator[FileLease]] = []


@pytest.fixture(autouse=True)
def end_of_taking() -> Iterator[None]:
    yield
    _TAKEN.clear()


@pytest.fixture
def leases(tmp_path: Path) -> FileLeases:
    return FileLeases(tmp_path / "leases", attempts=3, seconds=SECONDS)


def take(leases: FileLeases, box: str = BOX) -> FileLease:
    taking = leases.take([box], threading.Event())
    _TAKEN.append(taking)  # or it would give the box back
    return next(taking)


def is_taken(leases: FileLeases, box: str = BOX) -> bool:
    """Whether another process has the box, or it is over."""
    closed = threading.Event()
    threading.Timer(0.3, closed.set).start()
    return next(leases.take([box], closed), None) is None


def expire(leases: FileLeases, lease: FileLease) -> None:
    """Let the process of a lease be dead for long."""
    long_ago = leases.folder.stat().st_mtime - SECONDS - 1
    os.utime(leases.folder / f"{lease.box}.{lease.number}", (long_ago, long_ago))


def test_each_box_is_taken_once_by_many(tmp_path: Path) -> None:
    boxes = [f"{z}-{z + 1}_0-1_0-1" for z in range(200)]
    taken: Counter[str] = Counter()
    begin = threading.Barrier(4)

    def process(_: int) -> None:
        mine = FileLeases(tmp_path, attempts=3, seconds=SECONDS)
        begin.wait(10)
        for lease in mine.take(boxes, threading.Event()):
            with lease:
                taken[lease.box] += 1
                lease.done()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(process, range(4)))
    assert taken == Counter(boxes)
    assert {FileLeases(tmp_path, 3, SECONDS).id, FileLeases(tmp_path, 3, SECONDS).id} == {
        (tmp_path / ".id").read_text()
    }
    assert not list(tmp_path.glob(".clock-*")), "no file is left behind"


def test_a_box_whose_process_is_gone_is_taken_again(leases: FileLeases) -> None:
    first = take(leases)
    assert is_taken(leases)
    expire(leases, first)
    second = take(leases)
    assert (first.number, second.number) == (1, 2)


def test_a_lease_that_is_renewed_does_not_expire(tmp_path: Path) -> None:
    leases = FileLeases(tmp_path, attempts=3, seconds=0.6)
    with take(leases) as lease:
        before = (tmp_path / f"{BOX}.1").stat().st_mtime
        while (tmp_path / f"{BOX}.1").stat().st_mtime == before:
            threading.Event().wait(0.01)
        lease.check()
        assert is_taken(leases)


def test_who_was_away_for_too_long_may_not_finish(
    leases: FileLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take(leases)
    now = file_leases.elapsed()
    monkeypatch.setattr(file_leases, "elapsed", lambda: now + SECONDS + 1)
    with pytest.raises(LeaseLost):
        lease.done()
    lease.give_back()
    assert (leases.folder / f"{BOX}.1").exists(), "another process may count on it"
    assert not leases.is_over(BOX)


def test_a_failed_box_is_taken_again_at_once_until_it_is_given_up(leases: FileLeases) -> None:
    for number in (1, 2, 3):
        lease = take(leases)
        assert (lease.attempt, lease.is_last) == (number, number == 3)
        lease.check()
        lease.failed(final=lease.is_last)
    assert list(leases.take([BOX], threading.Event())) == []


def test_a_box_that_kills_its_processes_is_given_up_with_an_error(leases: FileLeases) -> None:
    for _ in range(3):
        expire(leases, take(leases))
    lease = take(leases)
    assert (lease.attempt, lease.is_last) == (3, True)
    with pytest.raises(RetryableError, match="was taken 3 times"):
        lease.check()


def test_a_box_that_is_given_back_costs_no_attempt(leases: FileLeases) -> None:
    take(leases).give_back()
    assert take(leases).number == 1


def test_a_box_that_was_taken_and_never_begun_is_given_back(leases: FileLeases) -> None:
    taking = leases.take([BOX], threading.Event())
    next(taking)
    taking.close()
    assert take(leases).number == 1


def test_a_box_that_another_finished_meanwhile_is_not_taken(leases: FileLeases) -> None:
    """The list of the folder may be old: a box of a minute-long task was done since."""
    other = "1-2_0-1_0-1"
    first = take(leases, other)
    taking = leases.take([BOX, other], threading.Event())
    mine = next(taking)
    first.done()
    expire(leases, first)
    mine.done()
    assert list(taking) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    leases = FileLeases(tmp_path / "file" / "leases", 3, SECONDS)
    with pytest.raises(StorageUnavailable, match="cannot be used: Not a directory"):
        take(leases)
