from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from chunkflow_worker.errors import (
    Preempted,
    StorageFull,
    StorageOutage,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.service import patience as module
from chunkflow_worker.service.patience import Patience
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.local_file import storage_error


class Storage:
    """Work that fails with each of `errors` in turn, and storage that fails `away` probes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.errors: list[Exception] = []
        self.tries = self.asked = self.away = 0
        put = Files.put_json

        def asked(files: Files, name: str, content: object) -> None:
            self.asked += 1
            if self.asked <= self.away:
                raise StorageUnavailable("ledger: away")
            put(files, name, content)

        monkeypatch.setattr(Files, "put_json", asked)
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
        monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)

    def work(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    return Storage(monkeypatch)


@pytest.fixture
def patience(tmp_path: Path) -> Patience:
    return Patience(f"file://{tmp_path}/log", [f"file://{tmp_path}/in"])


def nothing() -> None:
    pass


def test_an_outage_is_waited_out_and_told_once(
    storage: Storage, patience: Patience, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage.errors, storage.away = [StorageUnavailable("in: away")], 4
    assert patience.outlast(storage.work, nothing) == "done"
    assert (storage.tries, storage.asked) == (2, 5)
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "storage does not answer, retrying: in: away"
    assert last.startswith("storage answers again, after")
    assert not list((tmp_path / "log").iterdir()), "the probe leaves nothing"


def test_work_that_fails_though_storage_answers_fails_for_good_after_a_second_try(
    storage: Storage, patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    storage.errors = [StorageUnavailable("block 7: damaged")] * 5
    with pytest.raises(StorageUnavailable, match="block 7") as caught:
        patience.outlast(storage.work, nothing)
    assert not isinstance(caught.value, StorageOutage)
    assert storage.tries == 2
    assert not caplog.records, "no outage"


def test_an_endless_outage_ends_the_wait_at_no_cost(storage: Storage, tmp_path: Path) -> None:
    storage.errors, storage.away = [StorageUnavailable("away")], 10**9
    with pytest.raises(StorageOutage, match="away"):
        Patience(str(tmp_path), [], hold_seconds=0.1).outlast(storage.work, nothing)
    assert storage.tries == 1, "while storage is away, the work isn't tried"


def test_a_full_disk_is_an_outage_though_small_objects_fit(
    storage: Storage, patience: Patience
) -> None:
    storage.errors = [StorageFull("out: no space left")] * 7
    assert patience.outlast(storage.work, nothing) == "done"
    assert (storage.tries, storage.asked) == (8, 0)


@pytest.mark.parametrize(
    ("number", "full"),
    [(errno.ENOSPC, True), (errno.EROFS, True), (errno.EDQUOT, True), (errno.EIO, False)],
)
def test_full_and_read_only_disks_are_told_from_other_errors(number: int, full: bool) -> None:
    assert isinstance(storage_error("x", OSError(number, "x")), StorageFull) is full


def test_an_absent_volume_is_an_answer(storage: Storage, patience: Patience) -> None:
    storage.errors = [StorageUnavailable("x")]
    assert patience.outlast(storage.work, nothing) == "done"


def test_a_stop_ends_the_wait(storage: Storage, patience: Patience) -> None:
    storage.errors, storage.away = [StorageUnavailable("away")], 10**9

    def stop() -> None:
        raise Preempted("stop")

    with pytest.raises(Preempted):
        patience.outlast(storage.work, stop)


def test_the_answer_to_one_task_wakes_those_beside_it(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 60.0)
    patience = Patience(str(tmp_path), [])
    storage.errors, storage.away = [StorageUnavailable("away")], 1
    waiting = threading.Event()
    thread = threading.Thread(target=patience.outlast, args=(storage.work, waiting.set))
    thread.start()
    assert waiting.wait(10)
    done: Callable[[], str] = lambda: "done"  # noqa: E731
    assert patience.outlast(done, nothing) == "done"
    thread.join(10)
    assert not thread.is_alive()


def slow_down() -> StorageUnavailable:
    """What a driver raises when S3 throttles the objects of one prefix."""
    cause = ClientError({"Error": {"Code": "SlowDown", "Message": "reduce"}}, "PutObject")
    error = StorageUnavailable("out: SlowDown: reduce")
    error.__cause__ = cause
    return error


def test_throttling_of_a_prefix_is_an_outage_though_all_else_answers(
    storage: Storage, patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    storage.errors = [slow_down() for _ in range(20)]
    assert patience.outlast(storage.work, nothing, does_box=True) == "done"
    assert (storage.tries, storage.asked) == (21, 0)
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "storage does not answer, retrying: out: SlowDown: reduce"
    assert last.startswith("storage answers again")


def test_throttling_without_end_costs_nothing_where_no_box_gets_through(
    storage: Storage, tmp_path: Path
) -> None:
    storage.errors = [slow_down() for _ in range(1000)]
    with pytest.raises(StorageOutage):
        Patience(str(tmp_path), [], hold_seconds=0.1).outlast(storage.work, nothing, does_box=True)


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("others_do_boxes", "kind"), [(True, StorageUnavailable), (False, StorageOutage)]
)
def test_a_box_that_alone_is_refused_is_the_cause_in_the_end(
    tmp_path: Path, others_do_boxes: bool, kind: type[StorageUnavailable]
) -> None:
    """Others get through meanwhile; what asks the ledger alone says nothing about volumes."""
    patience = Patience(str(tmp_path), [], hold_seconds=0.1)

    def work() -> str:
        patience.outlast(lambda: "done", nothing, does_box=others_do_boxes)
        raise slow_down()

    with pytest.raises(StorageUnavailable) as caught:
        patience.outlast(work, nothing, does_box=True)
    assert type(caught.value) is kind


def test_what_is_refused_to_all_boxes_is_an_outage_and_to_one_box_its_own_fault(
    storage: Storage, patience: Patience
) -> None:
    storage.errors = [StorageRefused("may not list") for _ in range(5)]
    assert patience.outlast(storage.work, nothing, does_box=True) == "done"
    assert (storage.tries, storage.asked) == (6, 0)

    def work() -> str:
        patience.outlast(lambda: "done", nothing, does_box=True)
        raise StorageRefused("may not read this block")

    with pytest.raises(StorageRefused, match="this block"):
        patience.outlast(work, nothing, does_box=True)


@pytest.mark.usefixtures("storage")
def test_an_outage_of_several_tasks_is_told_once(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    together = threading.Barrier(4)

    def fail_for(times: int) -> Callable[[], str]:
        left = [slow_down() for _ in range(times)]

        def work() -> str:
            if len(left) == times:
                together.wait(10)
            if left:
                raise left.pop()
            return "done"

        return work

    threads = [
        threading.Thread(target=patience.outlast, args=(fail_for(5 * n), nothing))
        for n in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "storage does not answer",
        "storage answers again",
    ]


def test_addresses_of_other_formats_are_asked_too(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get(files: Files, name: str) -> bytes | None:
        asked.append(f"{files.path}/{name}")
        if len(asked) == 1:
            raise StorageUnavailable("away")
        raise StorageRefused("access denied, or absent")

    monkeypatch.setattr(Files, "get", get)
    storage.errors = [StorageUnavailable("x")]
    patience = Patience(str(tmp_path), ["s3://lab/out.zarr"])
    assert patience.outlast(storage.work, nothing) == "done"
    assert asked == ["s3://lab/out.zarr/info"] * 2


def test_an_answer_of_the_ledger_alone_does_not_end_an_outage(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patience = Patience(str(tmp_path), [], hold_seconds=0)
    storage.errors = [slow_down()]
    with pytest.raises(StorageOutage):
        patience.outlast(storage.work, nothing, does_box=True)
    patience.outlast(lambda: True, nothing)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "storage does not answer"
    ]
    patience.outlast(lambda: True, nothing, does_box=True)
    assert "storage answers again" in caplog.text
