from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from chunkflow_worker.errors import BoxOutsideVolume, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.load_precomputed import LoadPrecomputed
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

IMAGE = np.random.default_rng(0).integers(1, 255, (16, 32, 48), np.uint8)
OFFSET = (-8, 16, 32)
BOUNDS = BoundingBox.sized(OFFSET, IMAGE.shape)
RunStep = Callable[..., Task]
MakeVolume = Callable[..., PrecomputedVolume]


def cut(box: BoundingBox) -> np.ndarray:
    return IMAGE[box.slices(OFFSET)]


def test_reads_the_box_of_the_task_with_its_offset_and_voxel_size(
    volume: MakeVolume, run_step: RunStep
) -> None:
    box = BoundingBox.parse("-8-0_20-30_40-60")
    task = run_step(LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path), bbox=box)
    chunk = task.chunk("chunk")
    assert np.array_equal(chunk.array, cut(box))
    assert (chunk.bbox, chunk.voxel_size, chunk.bounds) == (box, (40, 8, 8), BOUNDS)
    assert task.bytes_read == box.voxels


def test_without_a_box_the_whole_volume_is_read(volume: MakeVolume, run_step: RunStep) -> None:
    task = run_step(
        LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path, output_chunk_name="image")
    )
    assert task.bbox == BOUNDS
    assert np.array_equal(task.chunk("image").array, IMAGE)


@pytest.mark.parametrize("stored", ["image", "segmentation"])
def test_the_layer_type_is_the_volumes_unless_given(
    volume: MakeVolume, run_step: RunStep, stored: str
) -> None:
    path = volume("v", IMAGE, OFFSET, layer_type=stored).path
    assert run_step(LoadPrecomputed(volume_path=path)).chunk("chunk").layer_type == stored
    given = LoadPrecomputed(volume_path=path, layer_type="segmentation")
    assert run_step(given).chunk("chunk").layer_type == "segmentation"


def test_an_explicit_margin_is_clipped_at_the_bounds(volume: MakeVolume, run_step: RunStep) -> None:
    operator = LoadPrecomputed(
        volume_path=volume("v", IMAGE, OFFSET).path, expand_margin_size=(2, 4, 4)
    )
    chunk = run_step(operator, bbox=BoundingBox.parse("-8-0_20-30_40-60")).chunk("chunk")
    assert chunk.bbox == BoundingBox.parse("-8-2_16-34_36-64")
    assert np.array_equal(chunk.array, cut(chunk.bbox))


def test_the_start_and_size_options_give_the_box_of_a_task_without_one(
    volume: MakeVolume, run_step: RunStep
) -> None:
    operator = LoadPrecomputed(
        volume_path=volume("v", IMAGE, OFFSET).path, chunk_start=(0, 16, 32), chunk_size=(4, 8, 8)
    )
    assert run_step(operator).bbox == BoundingBox.parse("0-4_16-24_32-40")
    other = run_step(operator, bbox=BoundingBox.parse("-8-0_20-30_40-60"))
    assert other.chunk("chunk").bbox == BoundingBox.parse("0-4_16-24_32-40")
    assert other.bbox == BoundingBox.parse("-8-0_20-30_40-60")


@pytest.mark.parametrize(
    ("options", "box"),
    [({"chunk_start": (0, 16, 32)}, "0-{}_16-{}_32-{}"), ({"chunk_size": (4, 8, 9)}, None)],
)
def test_a_start_alone_reads_to_the_end_and_a_size_alone_reads_from_the_start_of_the_volume(
    volume, run_step, options: dict, box: str | None
) -> None:
    """As in chunkflow 1.2.0."""
    operator = LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path, **options)
    if box:
        expected = BoundingBox.parse(box.format(*BOUNDS.stop))
    else:
        expected = BoundingBox.sized(BOUNDS.start, (4, 8, 9))
    task = run_step(operator)
    assert task.bbox == task.chunk("chunk").bbox == expected
    assert np.array_equal(task.chunk("chunk").array, cut(expected))


def test_a_start_outside_the_volume_is_an_error(volume: MakeVolume, run_step: RunStep) -> None:
    with pytest.raises(BoxOutsideVolume, match=r"chunk_start \[99, 0, 0\] is outside"):
        run_step(
            LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path, chunk_start=(99, 0, 0))
        )


def test_a_level_that_is_not_coarser_validates_nothing(
    volume: MakeVolume, run_step: RunStep
) -> None:
    with pytest.raises(ConfigError, match="validate_mip: 0 is not coarser than mip 0"):
        run_step(LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path, validate_mip=0))


def test_wrong_options_are_refused_without_reading_data() -> None:
    with pytest.raises(ValidationError, match="above 0"):
        LoadPrecomputed(volume_path="v", chunk_size=(0, 1, 1))


def test_a_box_partly_outside_the_volume_is_clipped_and_one_fully_outside_is_refused(
    volume: MakeVolume, run_step: RunStep
) -> None:
    operator = LoadPrecomputed(volume_path=volume("v", IMAGE, OFFSET).path)
    assert (
        run_step(operator, bbox=BoundingBox.parse("4-99_16-48_32-80")).chunk("chunk").bbox.stop
        == BOUNDS.stop
    )
    with pytest.raises(BoxOutsideVolume, match="is outside"):
        run_step(operator, bbox=BoundingBox.parse("8-16_16-48_32-80"))


def test_missing_blocks_are_an_error_by_default(volume: MakeVolume, run_step: RunStep) -> None:
    """Named defect of the peer: missing input was read as zeros, and its holes were silent."""
    path = volume("v", BOUNDS, dtype="uint8").path
    with pytest.raises(DataMissing):
        run_step(LoadPrecomputed(volume_path=path), bbox=BOUNDS)
    assert (
        not run_step(LoadPrecomputed(volume_path=path, fill_missing=True), bbox=BOUNDS)
        .chunk("chunk")
        .array.any()
    )


def test_blacked_out_sections_are_zero(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", IMAGE, OFFSET)
    operator = LoadPrecomputed(volume_path=made.path, blackout_sections=True)
    with pytest.raises(ConfigError, match="section_ids"):
        run_step(operator, bbox=BOUNDS)
    Path(made.path.removeprefix("file://"), "blackout_section_ids.json").write_text(
        json.dumps({"section_ids": [-8, 3, 99]})
    )
    expected = IMAGE.copy()
    expected[[0, 11]] = 0
    assert np.array_equal(run_step(operator, bbox=BOUNDS).chunk("chunk").array, expected)


def test_a_coarser_mip_finds_black_regions(volume: MakeVolume, run_step: RunStep) -> None:
    made = volume("v", IMAGE, OFFSET, max_mip=1, factor=Vec3(1, 2, 2))
    coarse = PrecomputedVolume(made.path, 1)
    coarse.write(coarse.bounds, IMAGE.reshape(16, 16, 2, 24, 2).mean((2, 4)).astype(np.uint8))
    operator = LoadPrecomputed(volume_path=made.path, validate_mip=1)
    box = BoundingBox.parse("-7-5_17-47_33-79")
    assert run_step(operator, bbox=box).chunk("chunk").bbox == box
    holed = IMAGE.copy()
    holed[4:6, 10:20, 10:20] = 0
    made.write(BOUNDS, holed)
    with pytest.raises(DataMissing, match="is zero at 50 places where the coarser level"):
        run_step(operator, bbox=box)


def test_shards_are_read(
    tmp_path: Path, run_step: RunStep, sharded_volume: Callable[..., str]
) -> None:
    sharded_volume("v", IMAGE, OFFSET)
    shards = sorted((tmp_path / "v" / "8_8_40").iterdir())
    assert {path.suffix for path in shards} == {".shard"}
    load = LoadPrecomputed(volume_path=f"file://{tmp_path}/v")
    assert np.array_equal(run_step(load).chunk("chunk").array, IMAGE)
    box = BoundingBox.parse("-5-3_20-40_40-70")
    assert np.array_equal(run_step(load, bbox=box).chunk("chunk").array, cut(box))
    shards[0].unlink()
    with pytest.raises(
        DataMissing, match=r"lacks the block .*--fill-missing reads missing blocks as zeros"
    ):
        run_step(load)


@pytest.mark.parametrize("stored", ["image", "segmentation"])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64, np.int32])
def test_the_layer_type_may_be_given(
    volume: MakeVolume, run_step: RunStep, stored: str, dtype: type
) -> None:
    """Many volumes of ids are of type image, so that alone makes no image of wide integers."""
    made = volume("v", np.full((8, 16, 16), 70000, dtype), layer_type=stored)
    untold = run_step(LoadPrecomputed(volume_path=made.path)).chunk("chunk")
    assert (untold.layer_type, untold.is_segmentation) == (stored, True)
    for kind in ("image", "segmentation"):
        told = run_step(LoadPrecomputed(volume_path=made.path, layer_type=kind)).chunk("chunk")
        assert told.layer_type == kind
        assert told.is_segmentation == (kind == "segmentation")
