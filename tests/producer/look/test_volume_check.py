from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError, StorageRefused, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Written
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from producer.look.problem import Problem
from producer.look.tally import COMPARED, EMPTY, FOUND
from producer.look.verify import Verifier
from producer.look.volumes import Source
from tests.support.damage import fill, truncate
from tests.support.output import BOX, LEFT, RIGHT, RIGHT_BOX, Output
from tests.support.records import task_record


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def kinds(problems: list[Problem]) -> list[tuple[str, tuple[str, ...]]]:
    return [(problem.kind, problem.blocks) for problem in problems]


@pytest.mark.parametrize(("quick", "seen"), [(False, COMPARED), (True, FOUND)])
def test_what_the_task_wrote_is_right_and_counted(output: Output, quick: bool, seen: str) -> None:
    verifier = Verifier("digest", Source(output.source), quick=quick)
    assert verifier.check(output.record()) == []
    assert verifier.tally.counts() == {seen: 2}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("missing", Path.unlink),
        ("damaged", truncate(0.5)),
        ("nan", fill(np.nan, 1)),
        ("zero", fill(0, 256)),
    ],
)
def test_a_bad_block_is_named(output: Output, kind: Any, damage: Callable[[Path], None]) -> None:
    damage(output.block(RIGHT))
    assert output.check() == [Problem(str(BOX), kind, output.path, (RIGHT,))]


def test_each_kind_of_bad_block_is_a_problem(output: Output) -> None:
    output.block(LEFT).unlink()
    fill(np.nan, 3)(output.block(RIGHT))
    assert output.check() == [
        Problem(str(BOX), "missing", output.path, (LEFT,)),
        Problem(str(BOX), "nan", output.path, (RIGHT,)),
    ]


@pytest.mark.parametrize("age", [0, 3600])
def test_other_voxels_than_the_task_wrote_are_stale(output: Output, age: float) -> None:
    fill(0.5, 1)(output.block(RIGHT))
    then = datetime.now().timestamp() - age
    os.utime(output.block(RIGHT), (then, then))
    detail = "other voxels than the task wrote"
    assert output.check() == [Problem(str(BOX), "stale", output.path, (RIGHT,), detail)]


@pytest.mark.parametrize("encoding", ["jpeg", "npz", "fpzip"])
def test_a_block_of_a_lossy_encoding_is_compared_by_its_bytes(
    tmp_path: Path, encoding: str
) -> None:
    dtype = "uint8" if encoding == "jpeg" else "float32"
    output = Output(tmp_path, dtype=dtype, encoding=encoding)
    assert output.written[0].of_bytes
    assert output.check() == []
    left, record = output.block(LEFT).read_bytes(), output.record()
    output.write(200)
    output.block(LEFT).write_bytes(left)
    detail = "other bytes than the task wrote"
    assert output.check(record) == [Problem(str(BOX), "stale", output.path, (RIGHT,), detail)]
    output.block(RIGHT).unlink()
    assert kinds(output.check(record)) == [("missing", (RIGHT,))]


def test_the_last_write_of_a_place_counts(output: Output) -> None:
    """One chain saves twice to one volume: all of it, or a part."""
    output.write(2, more=True)
    assert output.check() == []
    output.write(3, RIGHT_BOX, more=True)
    assert output.check() == output.check(quick=True) == []
    fill(2, 256)(output.block(RIGHT))
    fill(1, 256)(output.block(LEFT))
    assert kinds(output.check()) == [("stale", (LEFT,)), ("stale", (RIGHT,))]


def test_a_step_that_wrote_nothing_leaves_what_an_earlier_step_of_the_task_wrote(
    output: Output,
) -> None:
    output.written.append(Written(output.path, 0, str(BOX), empty=True))
    assert output.check() == []


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("left", ["absent", "zero", "full"])
def test_where_a_task_left_nothing_blocks_must_be_absent_or_zero(
    output: Output, quick: bool, left: str
) -> None:
    record = task_record(
        str(BOX), "skipped", written=[Written(output.path, 0, RIGHT_BOX, empty=True)]
    )
    if left == "absent":
        output.block(RIGHT).unlink()
    if left == "zero":
        fill(0, 256)(output.block(RIGHT))
    verifier = Verifier(quick=quick)
    problems = verifier.check(record)
    assert kinds(problems) == ([("stale", (RIGHT,))] if left == "full" else [])
    assert verifier.tally.counts() == ({} if left == "full" else {EMPTY: 1})
    if problems:
        assert "an earlier run wrote them: delete them" in problems[0].detail


def test_only_the_place_that_was_left_empty_is_looked_at(output: Output) -> None:
    """A box that is no whole blocks, or sticks out of the volume, or lies beside it."""
    output.write(0)
    half = np.zeros(BOX.size, np.float32)
    half[:, :, 8:12] = 1
    PrecomputedVolume(output.path).write(BOX, half)

    def left(box: str) -> list[tuple[str, tuple[str, ...]]]:
        written = [Written(output.path, 0, box, empty=True)]
        return kinds(output.check(task_record(box, "skipped", written=written)))

    assert left("0-4_0-8_12-40") == []
    assert left("0-4_0-8_11-40") == [("stale", (RIGHT,))]
    assert left("0-4_0-8_16-24") == []


def test_nothing_is_stored_in_a_level_that_does_not_exist(output: Output) -> None:
    for path, mip, box in ((output.path, 3, str(BOX)), ("file:///no", 0, "x")):
        empty = Written(path, mip, box, empty=True)
        assert output.check(task_record(str(BOX), "skipped", written=[empty])) == []


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": "0-4_0-8_0-99"},
        {"bbox": "0-4_0-8_99-107"},
        {"bbox": "0-4_0-8_0-8"},
        {"bbox": "nonsense"},
    ],
)
def test_a_record_that_does_not_fit_the_volume_is_told(output: Output, change: Any) -> None:
    (problem,) = output.check(output.record(**change))
    assert (problem.kind, problem.volume) == ("stale", output.path)
    assert "its record" in problem.detail


@pytest.mark.parametrize("minutes", [-15, 0, 15])
def test_the_clock_of_the_worker_does_not_matter(output: Output, minutes: int) -> None:
    output.started += timedelta(minutes=minutes)
    output.finished += timedelta(minutes=minutes)
    assert output.check(quick=True) == output.check() == []
    before = output.block(RIGHT).stat().st_mtime - 5
    os.utime(output.block(RIGHT), (before, before))
    older = Problem(str(BOX), "stale", output.path, (RIGHT,), "older than what their task wrote")
    assert output.check(quick=True) == [older]


def test_a_quick_check_finds_missing_and_old_blocks_and_reads_none(output: Output) -> None:
    output.block(LEFT).unlink()
    written = output.block(RIGHT).stat().st_mtime
    fill(0.5, 1)(output.block(RIGHT))
    os.utime(output.block(RIGHT), (written, written))
    assert kinds(output.check(quick=True)) == [("missing", (LEFT,))]


def test_a_block_that_was_written_again_is_not_called_right_unread(output: Output) -> None:
    after = output.block(RIGHT).stat().st_mtime + 5
    os.utime(output.block(RIGHT), (after, after))
    (problem,) = output.check(quick=True)
    assert (problem.kind, problem.blocks) == ("not-checked", (RIGHT,))
    assert "written again after the record" in problem.detail
    assert output.check() == []


def test_volumes_in_memory_are_compared_and_have_no_times(unique_name: str) -> None:
    output = Output(f"mem://{unique_name}")
    assert output.written[0].stored == ()
    assert output.check() == []
    assert output.check(quick=True) == []


def test_zeros_of_the_task_are_reported_unless_they_are_allowed(output: Output) -> None:
    output.write(0)
    detail = "as the task wrote them"
    assert output.check() == [Problem(str(BOX), "zero", output.path, (LEFT, RIGHT), detail)]
    assert output.check(allow_zeros=True) == []


def test_zeros_that_the_task_did_not_write_are_never_allowed(output: Output) -> None:
    fill(0, 256)(output.block(LEFT))
    assert kinds(output.check(allow_zeros=True)) == [("zero", (LEFT,))]


def test_the_output_may_be_zero_where_the_input_is(output: Output) -> None:
    output.write(0)
    half = np.ones(BOX.size, np.uint8)
    half[:, :, 8:] = 0
    PrecomputedVolume(output.source).write(BOX, half)
    assert [problem.blocks for problem in output.check()] == [(LEFT,)]
    assert Verifier("digest").check(output.record()) == [], "without an input, zeros are right"


def test_zeros_are_not_judged_by_an_input_that_cannot_be_read(output: Output) -> None:
    output.write(0)
    truncate(0.5)(next(Path(output.source.removeprefix("file://")).glob(f"{RIGHT}*")))
    zero, unknown = output.check()
    assert kinds([zero, unknown]) == [("zero", (LEFT,)), ("unreadable", (RIGHT,))]
    assert "the input that may explain it can't be read" in unknown.detail


def test_a_segmentation_may_be_zero(tmp_path: Path) -> None:
    output = Output(tmp_path, layer_type="segmentation", dtype="uint32")
    for value in (0, 1):
        output.write(value)
        assert output.check() == []


def test_the_input_may_have_larger_voxels(output: Output, tmp_path: Path) -> None:
    coarse = f"file://{tmp_path}/coarse"
    bounds = BoundingBox.parse("0-2_0-4_0-8")
    create_volume(
        coarse, bounds=bounds, voxel_size=(2, 2, 2), block_size=Vec3(2, 4, 4), dtype="uint8"
    )
    half = np.ones(bounds.size, np.uint8)
    half[:, :, 4:] = 0
    PrecomputedVolume(coarse).write(bounds, half)
    output.write(0)
    (problem,) = Verifier("", Source(coarse)).check(output.record())
    assert problem.blocks == (LEFT,)


def test_nan_that_became_an_integer_is_a_problem(output: Output) -> None:
    (problem,) = Verifier().check(output.record(nan=3))
    assert (problem.kind, problem.blocks) == ("nan", ())
    assert problem.detail == "3 voxels were NaN before they became integers"


@pytest.mark.parametrize("quick", [False, True])
def test_a_block_that_cloudvolume_wrote_beside_ours_is_told(output: Output, quick: bool) -> None:
    volume = CloudVolume(output.path, progress=False)
    volume[8:16, 0:8, 0:4] = np.full((8, 8, 4, 1), 2, np.float32)
    record = output.record()
    (problem,) = output.check(record, quick=quick)
    assert (problem.kind, problem.blocks) == ("stale", (RIGHT,))
    assert problem.detail.startswith("stored twice, as a plain file and as *.gz")
    output.write(1)
    assert output.check(quick=quick) == [], "doing the box again leaves one of them"


def test_a_volume_that_does_not_exist_is_an_error(output: Output, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Verifier().check(output.record(volume=f"file://{tmp_path}/absent"))


class TestRecordsOfEarlierVersions:
    """One checksum of all voxels, if the encoding keeps them, and no times of storage."""

    def test_voxels_are_compared(self, output: Output) -> None:
        record = output.old_record()
        assert output.check(record) == []
        fill(0.5, 1)(output.block(RIGHT))
        (problem,) = output.check(record)
        assert kinds([problem]) == [("stale", (LEFT, RIGHT))]
        assert problem.detail == "other voxels than the task wrote, in some of them"
        fill(0, 256)(output.block(RIGHT))
        assert kinds(output.check(record)) == [("zero", (RIGHT,))]

    def test_without_a_checksum_only_old_blocks_are_stale_and_the_others_unknown(
        self, tmp_path: Path
    ) -> None:
        output = Output(tmp_path, dtype="uint8", encoding="jpeg")
        record = output.old_record()
        assert kinds(output.check(record)) == [("not-checked", (LEFT, RIGHT))]
        before = output.started.timestamp()
        os.utime(output.block(RIGHT), (before - 50,) * 2)
        assert kinds(output.check(record)) == [("not-checked", (LEFT, RIGHT))], "a minute apart"
        os.utime(output.block(RIGHT), (before - 70,) * 2)
        stale, unknown = output.check(record)
        assert kinds([stale, unknown]) == [("stale", (RIGHT,)), ("not-checked", (LEFT,))]
        assert stale.detail == "older than their task, by the worker's clock"

    def test_a_quick_check_says_that_it_used_the_workers_clock(self, output: Output) -> None:
        verifier = Verifier(quick=True)
        assert verifier.check(output.old_record()) == []
        assert verifier.tally.counts() == {
            "blocks no older than their task, by the worker's clock": 2
        }
        os.utime(output.block(RIGHT), (1e9, 1e9))
        assert kinds(verifier.check(output.old_record())) == [("stale", (RIGHT,))]


class TestStorageThatFailsForSomeBlocks:
    @pytest.mark.parametrize("quick", [False, True])
    def test_the_others_are_checked(
        self, output: Output, quick: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output.block(LEFT).unlink()
        refuse(monkeypatch, StorageRefused("403\nallow it"), RIGHT_BOX)
        missing, unreadable = output.check(quick=quick)
        assert kinds([missing, unreadable]) == [("missing", (LEFT,)), ("unreadable", (RIGHT,))]
        assert unreadable.detail == "403"

    def test_bytes_that_cannot_be_read_are_unreadable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = Output(tmp_path, dtype="uint8", encoding="jpeg")
        whole = PrecomputedVolume.checksums

        def checksums(volume: PrecomputedVolume, blocks: Any) -> list[str]:
            boxes = list(blocks)
            if RIGHT_BOX in map(str, boxes):
                raise StorageRefused("403")
            return whole(volume, boxes)

        monkeypatch.setattr(PrecomputedVolume, "checksums", checksums)
        assert kinds(output.check()) == [("unreadable", (RIGHT,))]

    def test_a_volume_that_does_not_answer_at_all_is_an_error(
        self, output: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: Any) -> None:
            raise StorageUnavailable("away")

        assert output.check() == []
        verifier = Verifier()
        verifier.check(output.record())  # which opens the volume
        refuse(monkeypatch, StorageUnavailable("away"), RIGHT_BOX)
        monkeypatch.setattr("producer.look.findings.Files.get", fails)
        with pytest.raises(StorageUnavailable, match="away"):
            verifier.check(output.record())


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception, *blocks: str) -> None:
    """Make reads fail of boxes, and looks at the times of blocks, that hold one of the blocks."""
    read, stored_at = PrecomputedVolume.read, PrecomputedVolume.stored_at
    refused = [BoundingBox.parse(block) for block in blocks]

    def flaky_read(volume: PrecomputedVolume, box: BoundingBox) -> Any:
        if any(box.contains(block) for block in refused):
            raise error
        return read(volume, box)

    def flaky_stored_at(volume: PrecomputedVolume, boxes: Any, *_: Any) -> Any:
        wanted = list(boxes)
        if any(block in wanted for block in refused):
            raise error
        return stored_at(volume, wanted)

    monkeypatch.setattr(PrecomputedVolume, "read", flaky_read)
    monkeypatch.setattr(PrecomputedVolume, "stored_at", flaky_stored_at)
