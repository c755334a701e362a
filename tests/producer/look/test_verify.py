from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import LayerType
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger, Record, Written
from chunkflow_worker.job.written_paths import WrittenPaths
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.precomputed.info import create_volume
from chunkflow_worker.storage.precomputed.volume import PrecomputedVolume
from chunkflow_worker.storage.volume import checksum
from producer.look.faulty import UNREADABLE
from producer.look.problem import Problem
from producer.look.verify import Source, Verifier, input_of, verify
from producer.plan.pipeline_file import PipelineFile
from tests.support.damage import fill, truncate
from tests.support.records import task_record

BOX = BoundingBox.parse("0-4_0-8_0-16")
BLOCK = Vec3(4, 8, 8)
HUGE = "0-99984_0-99968_0-99968"
LEFT, RIGHT = "1_1_1/0-8_0-8_0-4", "1_1_1/8-16_0-8_0-4"


class Output:
    """A volume of two blocks of ones, the record of the task that wrote it, and its input."""

    def __init__(self, folder: Path, layer_type: LayerType = "image"):
        self.path, self.source = f"file://{folder}/out", f"file://{folder}/in"
        self.folder = folder / "out"
        shape: dict[str, Any] = {"bounds": BOX, "voxel_size": (1, 1, 1), "block_size": BLOCK}
        create_volume(self.source, dtype="uint8", **shape)
        PrecomputedVolume(self.source).write(BOX, np.ones(BOX.size, np.uint8))
        dtype = "float32" if layer_type == "image" else "uint32"
        create_volume(self.path, dtype=dtype, layer_type=layer_type, **shape)
        self.write(1)

    def write(self, value: float) -> None:
        """Write all voxels, as a task does that runs now."""
        volume = PrecomputedVolume(self.path)
        array = np.full(BOX.size, value, volume.dtype)
        volume.write(BOX, array)
        now = datetime.now(UTC)
        self.started, self.finished = now - timedelta(seconds=5), now + timedelta(seconds=5)
        self.written = Written(self.path, 0, str(BOX), checksum(array))

    def record(self, **written: Any) -> Record:
        return task_record(
            str(BOX),
            pipeline="digest",
            started=self.started.isoformat(),
            finished=self.finished.isoformat(),
            written=[replace(self.written, **written)],
        )

    def check(self, *, quick: bool = False, allow_zeros: bool = False) -> list[Problem]:
        verifier = Verifier("digest", Source(self.source), quick=quick, allow_zeros=allow_zeros)
        return verifier.check(self.record())

    def block(self, name: str) -> Path:
        return self.folder / f"{name}.gz"


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


@pytest.mark.parametrize("quick", [False, True])
def test_what_the_task_wrote_is_right(output: Output, quick: bool) -> None:
    assert output.check(quick=quick) == []


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


def test_other_voxels_than_the_task_wrote_are_stale(output: Output) -> None:
    fill(0.5, 1)(output.block(RIGHT))
    detail = "other voxels than the task wrote"
    assert output.check() == [Problem(str(BOX), "stale", output.path, (), detail)]
    an_hour_ago = datetime.now().timestamp() - 3600
    os.utime(output.block(RIGHT), (an_hour_ago, an_hour_ago))
    assert output.check() == [Problem(str(BOX), "stale", output.path, (RIGHT,), detail)]


def test_without_a_checksum_only_old_blocks_are_stale(output: Output) -> None:
    fill(0.5, 1)(output.block(RIGHT))
    record = output.record(crc32="")
    verifier = Verifier()
    assert verifier.check(record) == []
    before_the_task = output.started.timestamp()
    os.utime(output.block(RIGHT), (before_the_task - 50,) * 2)
    assert verifier.check(record) == [], "clocks may be a minute apart"
    os.utime(output.block(RIGHT), (before_the_task - 70,) * 2)
    assert verifier.check(record) == [
        Problem(str(BOX), "stale", output.path, (RIGHT,), "older than their task")
    ]


def test_a_quick_check_finds_missing_and_old_blocks_and_reads_none(output: Output) -> None:
    output.block(LEFT).unlink()
    fill(0.5, 1)(output.block(RIGHT))
    missing = Problem(str(BOX), "missing", output.path, (LEFT,))
    assert output.check(quick=True) == [missing]
    os.utime(output.block(RIGHT), (1e9, 1e9))
    old = Problem(str(BOX), "stale", output.path, (RIGHT,), "older than their task")
    assert output.check(quick=True) == [missing, old]


def test_zeros_of_the_task_are_reported_unless_they_are_allowed(output: Output) -> None:
    output.write(0)
    detail = "as the task wrote them"
    assert output.check() == [Problem(str(BOX), "zero", output.path, (LEFT, RIGHT), detail)]
    assert output.check(allow_zeros=True) == []


def test_zeros_that_the_task_did_not_write_are_never_allowed(output: Output) -> None:
    fill(0, 256)(output.block(LEFT))
    assert [problem.kind for problem in output.check(allow_zeros=True)] == ["zero"]


def test_the_output_may_be_zero_where_the_input_is(output: Output) -> None:
    output.write(0)
    half = np.ones(BOX.size, np.uint8)
    half[:, :, 8:] = 0
    PrecomputedVolume(output.source).write(BOX, half)
    assert [problem.blocks for problem in output.check()] == [(LEFT,)]
    assert Verifier("digest").check(output.record()) == [], "without an input, zeros are right"


def test_a_segmentation_may_be_zero(tmp_path: Path) -> None:
    output = Output(tmp_path, layer_type="segmentation")
    output.write(0)
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


def test_a_record_of_another_pipeline_is_stale(output: Output) -> None:
    (problem,) = Verifier("other").check(output.record())
    assert (problem.kind, problem.volume) == ("stale", "")
    assert problem.detail == "done by job j with another pipeline, digest"
    assert Verifier("").check(output.record()) == []
    unknown = output.record().model_copy(update={"pipeline": ""})
    assert Verifier("other").check(unknown) == []


@pytest.mark.parametrize("quick", [False, True])
def test_a_task_that_wrote_no_volume_is_not_called_right(quick: bool) -> None:
    [problem] = Verifier(quick=quick).check(task_record(str(BOX)))
    assert problem == Problem(str(BOX), "not-checked")


def test_a_task_that_was_skipped_has_nothing_to_check() -> None:
    assert Verifier().check(task_record(str(BOX), "skipped", skipped="empty")) == []


def test_a_volume_that_does_not_exist_is_an_error(output: Output, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Verifier().check(output.record(volume=f"file://{tmp_path}/absent"))


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


def pipeline_with(*operators: dict[str, Any], **tasks: Any) -> PipelineFile:
    return PipelineFile(Path("chain.yaml"), list(operators), tasks)


LOAD = {"op": "load-precomputed", "volume_path": "s3://b/in"}


@pytest.mark.parametrize(
    ("pipeline", "source"),
    [
        (pipeline_with(LOAD, {"op": "inference"}), Source("s3://b/in")),
        (pipeline_with(LOAD | {"mip": 2}, LOAD), Source("s3://b/in", 2)),
        (pipeline_with(LOAD, volume_path="s3://b/other"), Source("s3://b/in")),
        (pipeline_with({"op": "load-h5"}, volume_path="s3://b/v", mip=1), Source("s3://b/v", 1)),
        (pipeline_with({"op": "load-h5"}), None),
        (None, None),
    ],
)
def test_the_input_is_what_the_pipeline_file_says(
    pipeline: PipelineFile | None, source: Source | None
) -> None:
    assert input_of(pipeline) == source


ELSEWHERE = WrittenPaths.of_ledger("s3://bucket/records")


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("written", "kind"),
    [({"volume": "http://169.254.169.254/"}, "no-record"), ({"bbox": HUGE}, "no-record")],
)
def test_what_a_record_should_not_name_is_not_opened(
    output: Output, quick: bool, written: dict[str, Any], kind: str
) -> None:
    paths = WrittenPaths([output.path])
    verifier = Verifier("digest", quick=quick, paths=paths)
    assert verifier.check(output.record()) == []
    (problem,) = verifier.check(output.record(**written))
    assert (problem.kind, problem.is_wrong) == (kind, True)
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
