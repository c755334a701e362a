from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, StorageRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.written_paths import WrittenPaths
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.look.faulty import UNREADABLE
from producer.look.problem import Problem
from producer.look.verify import Verifier, verify
from tests.support.damage import fill
from tests.support.output import BOX, LEFT, Output
from tests.support.records import task_record


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_a_record_of_another_pipeline_is_stale(output: Output) -> None:
    (problem,) = Verifier("other").check(output.record())
    assert (problem.kind, problem.volume) == ("stale", "")
    assert problem.detail == "done by job j with another pipeline, digest"
    assert Verifier("").check(output.record()) == []
    unknown = output.record().model_copy(update={"pipeline": ""})
    assert Verifier("other").check(unknown) == []


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (task_record(str(BOX)), ""),
        (task_record(str(BOX), "skipped", skipped="empty"), "skipped: empty"),
        (task_record(str(BOX), unchecked=["save-h5", "mesh"]), "of save-h5, mesh"),
    ],
    ids=["nothing recorded", "skipped", "output that is not described"],
)
def test_what_has_nothing_to_compare_with_is_not_called_right(
    quick: bool, record: Any, detail: str
) -> None:
    [problem] = Verifier(quick=quick).check(record)
    assert problem == Problem(str(BOX), "not-checked", detail=detail)


def test_what_is_not_described_does_not_hide_what_is(output: Output) -> None:
    record = output.record().model_copy(update={"unchecked": ["save-h5"]})
    fill(np.nan, 1)(output.block(LEFT))
    assert [problem.kind for problem in Verifier().check(record)] == ["nan", "not-checked"]


@pytest.mark.parametrize("threads", [1, 4])
def test_every_box_of_a_job_has_its_problems_in_order(
    output: Output, ledger: Ledger, threads: int
) -> None:
    boxes = Grid(chunk_size=BOX.size, grid_size=(50, 2, 3)).boxes()
    ledger.write(output.record())
    fill(np.nan, 1)(output.block(LEFT))
    ledger.write(task_record(str(boxes[1])))
    ledger.write(task_record(str(boxes[299]), "failed"))
    results = list(verify(ledger, boxes, Verifier("digest"), threads))
    assert [[problem.kind for problem in problems] for problems in results] == [
        ["nan"],
        ["not-checked"],
        *[["no-record"]] * 297,
        ["failed"],
    ]
    assert [problems[0].box for problems in results] == [str(box) for box in boxes]


def test_an_error_ends_the_verification(output: Output, ledger: Ledger, tmp_path: Path) -> None:
    boxes = Grid(chunk_size=BOX.size, grid_size=(1, 1, 1)).boxes()
    ledger.write(output.record(volume=f"file://{tmp_path}/absent"))
    with pytest.raises(ConfigError):
        list(verify(ledger, boxes, Verifier()))


class TestRecordsThatCannotBeRead:
    BOXES = Grid(chunk_size=(1, 1, 1), grid_size=(1, 1, 6)).boxes()

    @pytest.fixture
    def full(self, ledger: Ledger) -> Ledger:
        for box in self.BOXES:
            ledger.write(task_record(str(box)))
        return ledger

    def test_one_is_told_and_the_others_are_checked(
        self, full: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(monkeypatch, StorageRefused("403\nallow it"), str(self.BOXES[2]))
        results = list(verify(full, self.BOXES, Verifier()))
        kinds = [problem.kind for problems in results for problem in problems]
        assert kinds == [*["not-checked"] * 2, "unreadable", *["not-checked"] * 3]
        assert results[2][0].detail == "its record: 403"
        assert results[2][0].volume == full.path

    def test_several_that_storage_fails_for_are_an_outage(
        self, full: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(monkeypatch, StorageUnavailable("500"), *map(str, self.BOXES))
        with pytest.raises(StorageUnavailable, match="500"):
            list(verify(full, self.BOXES, Verifier()))

    def test_a_ledger_that_does_not_answer_at_all_is_an_error(
        self, full: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails() -> None:
            raise StorageUnavailable("away")

        fail(monkeypatch, StorageRefused("403"), str(self.BOXES[2]))
        monkeypatch.setattr(full, "jobs", fails)
        with pytest.raises(StorageUnavailable, match="away"):
            list(verify(full, self.BOXES, Verifier()))


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception, *boxes: str) -> None:
    """Make the records of boxes unreadable."""
    get_jsons = Files.get_jsons

    def flaky(files: Files, names: list[str], largest: int) -> Iterator[Any]:
        if any(f"{box}.json" in names for box in boxes):
            raise error
        return get_jsons(files, names, largest)

    monkeypatch.setattr(Files, "get_jsons", flaky)


def test_many_boxes_in_a_row_that_cannot_be_read_end_with_one_error(
    output: Output, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Grid(chunk_size=BOX.size, grid_size=(60, 1, 1)).boxes()
    for box in boxes:
        ledger.write(output.record().model_copy(update={"bbox": str(box)}))

    def refused(volume: PrecomputedVolume, box: Any) -> None:
        raise StorageRefused("access denied")

    monkeypatch.setattr(PrecomputedVolume, "read", refused)
    found = verify(ledger, boxes, Verifier())
    assert {problems[0].kind for problems in islice(found, 50)} == {"unreadable"}
    with pytest.raises(StorageUnavailable, match=r"51 boxes in a row can't be read.*access denied"):
        next(found)


HUGE = "0-99984_0-99968_0-99968"
ELSEWHERE = WrittenPaths.of_ledger("s3://bucket/records")


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("written", [{"volume": "http://169.254.169.254/"}, {"bbox": HUGE}])
def test_what_a_record_should_not_name_is_not_opened(
    output: Output, quick: bool, written: dict[str, Any]
) -> None:
    paths = WrittenPaths([output.path])
    verifier = Verifier("digest", quick=quick, paths=paths)
    assert verifier.check(output.record()) == []
    (problem,) = verifier.check(output.record(**written))
    assert (problem.kind, problem.is_wrong) == ("no-record", True)
    assert problem.detail.startswith("its record names a ")


def test_without_the_pipeline_another_volume_is_not_checked(output: Output) -> None:
    (problem,) = Verifier("digest", paths=ELSEWHERE).check(output.record())
    assert (problem.kind, problem.is_wrong) == ("not-checked", False)
    assert problem.detail.endswith(": give --pipeline")


def test_a_record_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    output: Output, ledger: Ledger
) -> None:
    boxes = Grid(chunk_size=BOX.size, grid_size=Vec3(1, 1, 3)).boxes()
    ledger.write(output.record())
    Files(ledger.path).put(f"{boxes[1]}.json", b"[" * 100_000, "application/json")
    first, second, third = verify(ledger, boxes, Verifier("digest"))
    assert first == []
    assert [(p.kind, p.detail) for p in second] == [("no-record", UNREADABLE)]
    assert [(p.kind, p.detail) for p in third] == [("no-record", "")]


def test_a_box_that_does_not_fit_into_memory_is_not_checked(
    output: Output, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(volume: PrecomputedVolume, box: BoundingBox) -> Any:
        raise MemoryError

    monkeypatch.setattr(PrecomputedVolume, "read", read)
    ledger.write(output.record())
    (problems,) = verify(ledger, Grid(chunk_size=BOX.size).boxes(), Verifier("digest"))
    assert [problem.kind for problem in problems] == ["not-checked"]
