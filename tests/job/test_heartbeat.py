from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.job.heartbeat import GpuUse, Heartbeat, Heartbeats, InHandBox
from chunkflow_worker.job.ledger import Ledger

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOX = InHandBox(
    job="j", bbox="0-4_0-8_0-8", seconds=7, operator="inference", operator_seconds=3, lease=90
)


def heartbeat(worker: str = "w-1", **fields: object) -> Heartbeat:
    return Heartbeat.model_validate({"worker": worker, "started": NOW, "at": NOW} | fields)


def test_what_is_written_is_read_and_can_be_deleted(path: str) -> None:
    beats = Heartbeats(path)
    assert beats.all() == []
    gpu = GpuUse(name="A10", memory=5, memory_total=24, utilization=0.5)
    wrote = heartbeat("w-2", in_hand=(BOX,), done=3, gpu=gpu)
    beats.write(wrote)
    beats.write(heartbeat("w-1"))
    assert [beat.heartbeat for beat in Heartbeats(path).all()] == [heartbeat("w-1"), wrote]
    beats.delete("w-1")
    beats.delete("w-1")
    (left,) = beats.all()
    assert [box.job for box in left.heartbeat.in_hand] == ["j"]


def test_they_are_no_records(tmp_path: Path) -> None:
    Heartbeats(str(tmp_path)).write(heartbeat("0-4_0-8_0-8"))
    assert Ledger(str(tmp_path)).listing().done == set()
    assert not Ledger(str(tmp_path)).has_jobs()


def test_a_worker_is_gone_when_it_has_missed_ten_beats(tmp_path: Path) -> None:
    beats = Heartbeats(str(tmp_path))
    beats.write(heartbeat(interval=15))
    written = datetime.fromtimestamp((tmp_path / "workers/w-1.json").stat().st_mtime, UTC)
    (at_last,) = beats.all(written + timedelta(seconds=149))
    assert at_last.is_alive
    (late,) = beats.all(written + timedelta(seconds=152))
    assert not late.is_alive
    assert late.age == pytest.approx(152, abs=1)
    (of_the_future,) = beats.all(written - timedelta(hours=1))
    assert of_the_future.age == 0


def test_those_of_killed_workers_are_deleted_after_a_day(tmp_path: Path) -> None:
    beats = Heartbeats(str(tmp_path))
    assert beats.forget_old() == 0
    for worker in ("old", "new"):
        beats.write(heartbeat(worker))
    then = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(tmp_path / "workers/old.json", (then, then))
    assert beats.forget_old() == 1
    assert [beat.heartbeat.worker for beat in beats.all()] == ["new"]


VALID = heartbeat().model_dump(mode="json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b"[" * 10_000,
        json.dumps(VALID | {"at": "never"}).encode(),
        json.dumps(VALID | {"at": "2026-01-01T00:00:00"}).encode(),
        json.dumps(VALID | {"done": -1}).encode(),
        json.dumps(VALID | {"interval": 10**9}).encode(),
        json.dumps(VALID | {"worker": "another"}).encode(),
        json.dumps(VALID | {"in_hand": [{"job": "j", "bbox": "<b>"}]}).encode(),
        json.dumps(VALID | {"in_hand": [BOX.model_dump()] * 129}).encode(),
        json.dumps(VALID).encode() + b" " * 100_000,
    ],
    ids=lambda content: content[-40:].decode(),
)
def test_what_is_no_heartbeat_counts_for_none(tmp_path: Path, content: bytes) -> None:
    beats = Heartbeats(str(tmp_path))
    beats.write(heartbeat("w-2"))
    (tmp_path / "workers/w-1.json").write_bytes(content)
    assert [beat.heartbeat.worker for beat in beats.all()] == ["w-2"]


def test_fields_of_later_versions_are_ignored_and_texts_are_cut(tmp_path: Path) -> None:
    beats = Heartbeats(str(tmp_path))
    beats.write(heartbeat())
    later = VALID | {"mood": "good", "host": "h" * 10_000}
    (tmp_path / "workers/w-1.json").write_text(json.dumps(later))
    assert [beat.heartbeat for beat in beats.all()] == [heartbeat(host="h" * 500)]


@settings(max_examples=20)
@given(st.lists(st.text(min_size=1, max_size=300), unique=True, min_size=1, max_size=8))
def test_workers_of_any_names_have_files_of_their_own_in_the_folder(
    tmp_path_factory: pytest.TempPathFactory, workers: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    beats = Heartbeats(str(folder))
    workers = [name.encode(errors="replace").decode() for name in workers]
    for worker in workers:
        beats.write(heartbeat(worker))
    assert {beat.heartbeat.worker for beat in beats.all()} == set(workers)
    assert {path.parent for path in folder.rglob("*.json")} == {folder / "workers"}
    for worker in workers:
        beats.delete(worker)
    assert beats.all() == []
