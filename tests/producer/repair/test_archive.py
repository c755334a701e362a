from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.archive.ledger import ArchivedLedger
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Written
from chunkflow_worker.storage.files import Files
from producer.look.survey import Survey
from producer.repair.archive import Packer
from tests.support.records import task_record

SIZE = Vec3(2, 3, 4)
GRID = Grid(chunk_size=Vec3(8, 8, 8), grid_size=SIZE)
BOXES = [str(box) for box in GRID.boxes()]


def job(name: str = "j", grid: Grid = GRID) -> JobRecord:
    return JobRecord(job=name, queue="q", tasks=len(grid.boxes()), grid=grid.model_dump())


# The fixture `path` gives each kind of storage. Most of these tests ask nothing of it.
in_files = pytest.mark.parametrize("path", ["file"], indirect=True)


class Killed(BaseException):
    """What a kill is to the code that it ends."""


@pytest.fixture
def ledger(path: str) -> ArchivedLedger:
    """A ledger in which all boxes but the last are done."""
    ledger = ArchivedLedger(path)
    ledger.write_job(job())
    for n, box in enumerate(BOXES[:-1]):
        ledger.write(record(box, worker=f"w{n}"))
    ledger.write(task_record(BOXES[-1], "failed", error="broken"))
    return ledger


def record(box: str, **fields: Any) -> Any:
    written = Written("s3://lab/out", 0, box, blocks="0a 0b", stored=("2026-01-01T00:00:00+00:00",))
    timer = {"inference": 1.5, "save-volume": 0.5}
    return task_record(box, timer=timer, models={"a": "1"}, written=[written], **fields)


def own(ledger: Ledger) -> set[str]:
    """The boxes that have a record of success of their own."""
    return {box for box, kind in ledger.records_named() if kind == "done"}


def workers(ledger: Ledger) -> dict[str, str]:
    return {record.bbox: record.worker for record in ledger.records(BOXES)}


def invert_a_part(content: bytearray) -> None:
    """Of the first column; the end of the file describes it."""
    content[100:120] = bytes(255 - byte for byte in content[100:120])


def archive(ledger: ArchivedLedger) -> None:
    packer = Packer(ledger, job())
    packer.pack()
    packer.delete_records()


def anew(ledger: Ledger) -> ArchivedLedger:
    """The ledger as another process opens it."""
    return ArchivedLedger(ledger.path)


def test_records_are_packed_and_only_then_deleted(ledger: ArchivedLedger) -> None:
    before = list(ledger.records(BOXES))
    packer = Packer(ledger, job())
    packed = packer.pack()
    assert (packed.boxes, packed.archived, packed.added, packed.left) == (24, 23, 23, 1)
    assert packed.path == f"{ledger.path}/archive/j.0001.parquet"
    assert own(ledger) == {*BOXES[:-1]}
    assert packer.delete_records() == (23, 0)
    assert own(ledger) == set()
    assert list(anew(ledger).records(BOXES)) == before
    assert list(Ledger(ledger.path).records(BOXES)) == []
    found = Survey(anew(ledger), GRID.boxes()).look()
    assert (found.done, found.failed) == (23, 1)


@in_files
def test_it_is_the_same_when_it_is_run_again(ledger: ArchivedLedger) -> None:
    Packer(ledger, job()).pack()
    again = Packer(anew(ledger), job())
    assert again.pack().added == 0
    assert again.delete_records() == (23, 0)
    last = Packer(anew(ledger), job())
    assert last.pack().path.endswith("j.0001.parquet")
    assert last.delete_records() == (0, 0)
    assert len(workers(anew(ledger))) == 23


@in_files
def test_a_box_that_is_done_again_has_a_record_that_wins(ledger: ArchivedLedger) -> None:
    packer = Packer(ledger, job())
    packer.pack()
    packer.delete_records()
    Ledger(ledger.path).write(record(BOXES[2], worker="later"))
    assert workers(anew(ledger))[BOXES[2]] == "later"
    again = Packer(anew(ledger), job())
    packed = again.pack()
    assert (packed.archived, packed.added) == (23, 1)
    assert packed.path.endswith("j.0002.parquet")
    assert again.delete_records() == (1, 0)
    assert workers(anew(ledger))[BOXES[2]] == "later"
    assert anew(ledger).archives.names("j") == ["j.0002.parquet"]


def test_a_record_that_is_newer_than_the_archive_is_not_deleted(ledger: ArchivedLedger) -> None:
    packer = Packer(ledger, job())
    packer.pack()
    Ledger(ledger.path).write(record(BOXES[2], worker="later and longer"))
    assert packer.delete_records() == (22, 1)
    assert own(ledger) == {BOXES[2]}
    assert workers(anew(ledger))[BOXES[2]] == "later and longer"


@pytest.mark.parametrize(
    ("path", "method", "is_after"),
    [
        *product(["file"], ["put_file", "delete_all"], [False, True]),
        ("s3", "put_file", True),
        ("s3", "delete_all", False),
    ],
    indirect=["path"],
)
def test_nothing_is_lost_when_it_is_killed(
    ledger: ArchivedLedger, monkeypatch: pytest.MonkeyPatch, method: str, is_after: bool
) -> None:
    before = list(ledger.records(BOXES))
    do: Callable[..., None] = getattr(Files, method)

    def killed(self: Files, *args: Any) -> None:
        if is_after:
            do(self, *args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Files, method, killed)
        with pytest.raises(Killed):
            archive(ledger)
    assert list(anew(ledger).records(BOXES)) == before
    archive(anew(ledger))
    assert own(ledger) == set()
    assert list(anew(ledger).records(BOXES)) == before
    assert len(anew(ledger).archives.names("j")) == 1


@in_files
def test_an_archive_that_is_stored_wrong_is_deleted_and_no_record(
    ledger: ArchivedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Files.put_file

    def spoil(self: Files, name: str, content: Path) -> None:
        spoilt = bytearray(content.read_bytes())
        invert_a_part(spoilt)
        content.write_bytes(spoilt)
        put(self, name, content)

    monkeypatch.setattr(Files, "put_file", spoil)
    with pytest.raises(StorageUnavailable, match="could not be read back"):
        Packer(ledger, job()).pack()
    assert anew(ledger).archives.names("j") == []
    assert len(own(ledger)) == 23


@in_files
@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_archive_is_told_and_kept(ledger: ArchivedLedger, damage: str) -> None:
    packer = Packer(ledger, job())
    file = Path(packer.pack().path.removeprefix("file://"))
    packer.delete_records()
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        invert_a_part(content)
    file.write_bytes({"cut": content[:-100], "other": b"{}"}.get(damage, content))
    with pytest.raises(ConfigError, match=r"j.0001.parquet.*damaged, or no archive"):
        Packer(anew(ledger), job()).pack()
    with pytest.raises(ConfigError, match="restore the file"):
        list(anew(ledger).records(BOXES))
    assert file.exists()


@in_files
def test_an_archive_of_another_job_counts_where_its_boxes_are_the_same(
    ledger: ArchivedLedger,
) -> None:
    packer = Packer(ledger, job())
    packer.pack()
    packer.delete_records()
    part = Grid(chunk_size=GRID.chunk_size, grid_size=SIZE, task_index_start=3, task_index_stop=6)
    assert Survey(anew(ledger), part.boxes()).look().done == 3
    other = Grid(chunk_size=Vec3(16, 8, 8), grid_size=SIZE)
    assert Survey(anew(ledger), other.boxes()).look().done == 0
    Ledger(ledger.path).write(record(BOXES[4], worker="of k"))
    second = Packer(anew(ledger), job("k", part))
    assert second.pack().archived == 3
    second.delete_records()
    assert anew(ledger).archives.names("k") == ["k.0001.parquet"]
    assert workers(anew(ledger))[BOXES[4]] == "of k"
    assert len(workers(anew(ledger))) == 23


@in_files
def test_the_record_of_a_box_that_was_wrong_does_not_count(ledger: ArchivedLedger) -> None:
    packer = Packer(ledger, job())
    packer.pack()
    packer.delete_records()
    ledger.remove(BOXES[5])
    assert BOXES[5] not in workers(anew(ledger))
    survey = Survey(anew(ledger), GRID.boxes())
    assert survey.look().done == 22
    Ledger(ledger.path).write(record(BOXES[5], worker="again"))
    assert survey.look().done == 23
    last = Packer(anew(ledger), job())
    last.pack()
    assert last.delete_records() == (1, 0)
    assert anew(ledger).archives.void == frozenset()
    assert workers(anew(ledger))[BOXES[5]] == "again"


@in_files
def test_what_other_versions_write_is_kept(ledger: ArchivedLedger) -> None:
    content = ledger.files.get_json(f"{BOXES[0]}.json") | {"of_tomorrow": [1, {"a": None}]}
    ledger.files.put_json(f"{BOXES[0]}.json", content)
    packer = Packer(ledger, job())
    packer.pack()
    [(_, text)] = anew(ledger).archived_records(BOXES[:1])
    assert json.loads(text) == content


@in_files
def test_what_is_no_record_stays(ledger: ArchivedLedger) -> None:
    for name in (f"{BOXES[0]}.json", "info", f"{BOXES[1]}.again.json", "90-98_0-8_0-8.json"):
        ledger.files.put_json(name, {"timer": {}})
    packer = Packer(ledger, job())
    assert packer.pack().archived == 22
    assert packer.delete_records() == (22, 1)
    left = set(ledger.files.list())
    assert {f"{BOXES[0]}.json", "info", f"{BOXES[1]}.again.json", "90-98_0-8_0-8.json"} <= left


@in_files
def test_a_job_of_which_nothing_is_done_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="no box of job j is done"):
        Packer(ArchivedLedger(path), job()).pack()


@in_files
def test_people_can_read_it(ledger: ArchivedLedger) -> None:
    import pyarrow.parquet as parquet

    path = Packer(ledger, job()).pack().path.removeprefix("file://")
    rows = parquet.read_table(path).to_pylist()
    assert [row["box"] for row in rows] == BOXES[:-1]
    first = rows[1]
    assert (first["x_start"], first["x_stop"], first["z_stop"]) == (8, 16, 8)
    assert (first["job"], first["worker"], first["attempts"], first["state"]) == (
        "j", "w1", 1, "done"
    )  # fmt: skip
    assert dict(first["operator_seconds"]) == {"inference": 1.5, "save-volume": 0.5}
    assert first["written"][0]["blocks"] == 2
