"""crop-margin"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.crop_margin import CropMargin
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task


def volume(box: BoundingBox) -> Chunk:
    """A chunk in which every voxel has a different value."""
    return Chunk(np.arange(box.voxels).reshape(box.size), box.start, bounds=box)


@st.composite
def crops(draw: st.DrawFn) -> tuple[Chunk, BoundingBox, tuple[int, ...], tuple[int, ...]]:
    bounds = BoundingBox.sized(
        Vec3(*draw(st.tuples(*[st.integers(-20, 20)] * 3))),
        Vec3(*draw(st.tuples(*[st.integers(1, 9)] * 3))),
    )
    start, stop = [], []
    for low, high in zip(bounds.start, bounds.stop, strict=True):
        start.append(draw(st.integers(low, high - 1)))
        stop.append(draw(st.integers(start[-1] + 1, high)))
    margins = st.tuples(*[st.integers(0, 4)] * 6)
    return volume(bounds), BoundingBox(Vec3(*start), Vec3(*stop)), draw(margins), draw(margins)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(crops())
def test_the_context_it_requests_is_what_it_cuts_off_anywhere_in_a_volume(case) -> None:
    whole, box, margin, later = case
    crop = CropMargin(margin_size=margin)
    later_crop = CropMargin(margin_size=later)
    needed = later_crop.input_box(box, whole.bounds)
    chunk = whole.cutout(crop.input_box(needed, whole.bounds))
    task = Task(box, {"chunk": chunk})
    with crop.open(Run(needed_box=later_crop.input_box)) as step:
        step(task)
    result = task.chunk("chunk")
    assert result.bbox == needed
    assert np.array_equal(result.array, whole.cutout(needed).array)


def test_the_context_may_be_asymmetric_and_is_clipped_to_the_volume() -> None:
    crop = CropMargin(margin_size=(1, 2, 3, 4, 5, 6))
    box = BoundingBox.parse("10-20_10-20_10-20")
    assert str(crop.input_box(box, None)) == "9-24_8-25_7-26"
    assert str(crop.input_box(box, BoundingBox.parse("10-22_0-99_0-99"))) == "10-22_8-25_7-26"
    assert CropMargin().input_box(box, None) == box
    assert CropMargin(margin_size=(1, 2, 3, 4, 5, 6), crop_bbox=True).input_box(box, None) == box


def test_without_a_box_the_margin_is_cut_on_every_side(run_step) -> None:
    whole = volume(BoundingBox.parse("0-4_0-6_0-8"))
    result = run_step(CropMargin(margin_size=(1, 2, 3, 0, 1, 2)), chunk=whole).chunk("chunk")
    assert str(result.bbox) == "1-4_2-5_3-6"
    assert np.array_equal(result.array, whole.array[1:, 2:5, 3:6])


def test_a_margin_of_zero_cuts_nothing(run_step) -> None:
    """chunkflow 1.2.0 sliced [0:-0], which is empty."""
    whole = volume(BoundingBox.parse("0-4_0-6_0-8"))
    assert run_step(CropMargin(margin_size=(0,) * 6), chunk=whole).chunk("chunk").bbox == whole.bbox


def test_without_a_margin_the_chunk_is_cropped_to_the_box_of_the_task(run_step) -> None:
    whole = volume(BoundingBox.parse("0-4_0-6_0-8"))
    box = BoundingBox.parse("1-3_2-5_3-8")
    result = run_step(CropMargin(output_chunk_name="cut"), bbox=box, chunk=whole).chunk("cut")
    assert result.bbox == box
    assert np.array_equal(result.array, whole.array[1:3, 2:5, 3:8])


def test_channels_are_kept(run_step) -> None:
    chunk = Chunk(np.arange(2 * 4 * 4 * 4).reshape(2, 4, 4, 4))
    result = run_step(CropMargin(margin_size=(1, 1, 1, 1, 1, 1)), chunk=chunk).chunk("chunk")
    assert np.array_equal(result.array, chunk.array[:, 1:-1, 1:-1, 1:-1])


def test_a_box_that_crosses_the_border_gives_the_part_inside(run_step) -> None:
    whole = volume(BoundingBox.parse("0-4_0-6_0-8"))
    box = BoundingBox.parse("2-6_0-6_0-8")
    result = run_step(CropMargin(), bbox=box, chunk=whole).chunk("chunk")
    assert str(result.bbox) == "2-4_0-6_0-8"


def test_crop_bbox_shrinks_the_box_of_the_task_with_the_chunk(run_step) -> None:
    whole = volume(BoundingBox.parse("0-9_0-9_0-9"))
    box = BoundingBox.parse("1-8_1-8_1-8")
    task = run_step(
        CropMargin(margin_size=(1, 2, 3, 0, 0, 1), crop_bbox=True),
        bbox=box,
        chunk=whole.cutout(box),
    )
    assert str(task.bbox) == "2-8_3-8_4-7"
    assert task.chunk("chunk").bbox == task.bbox
    assert np.array_equal(task.chunk("chunk").array, whole.array[2:8, 3:8, 4:7])


def test_the_error_for_a_chunk_that_does_not_cover_the_box_names_both_boxes(run_step) -> None:
    chunk = Chunk(np.zeros((4, 4, 4)))
    with pytest.raises(
        ChunkMismatch, match="chunk 0-4_0-4_0-4 does not cover the task's box 2-6_0-4_0-4"
    ):
        run_step(CropMargin(), bbox=BoundingBox.parse("2-6_0-4_0-4"), chunk=chunk)
    with pytest.raises(
        ChunkMismatch,
        match=r"0-4_0-4_0-4 without the margin \[1, 0, 0, 0, 0, 0\] does not cover .* 0-4_0-4_0-4",
    ):
        run_step(CropMargin(margin_size=(1, 0, 0, 0, 0, 0)), bbox=chunk.bbox, chunk=chunk)
    with pytest.raises(ChunkMismatch, match="does not cover the task's box 8-9_0-4_0-4"):
        run_step(
            CropMargin(margin_size=(1, 0, 0, 0, 0, 0)),
            bbox=BoundingBox.parse("8-9_0-4_0-4"),
            chunk=chunk,
        )


@pytest.mark.parametrize("margin", [(1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)])
def test_a_missing_margin_is_allowed_only_at_the_border_of_the_image(run_step, margin) -> None:
    """Inside the image, a missing margin is an error. At the border of the image it is not."""
    chunk = Chunk(np.zeros((4, 4, 4)), Vec3(2, 2, 2), bounds=BoundingBox.parse("0-8_0-8_0-8"))
    with pytest.raises(ChunkMismatch, match="without the margin"):
        run_step(CropMargin(margin_size=margin), bbox=chunk.bbox, chunk=chunk)
    chunk = Chunk(np.zeros((4, 4, 4)), Vec3(2, 2, 2), bounds=chunk.bbox)
    result = run_step(CropMargin(margin_size=margin), bbox=chunk.bbox, chunk=chunk).chunk("chunk")
    assert result.bbox == chunk.bbox


@pytest.mark.parametrize("margin", [(2, 0, 0, 2, 0, 0), (5, 0, 0, 0, 0, 0)])
def test_a_margin_that_leaves_nothing_is_refused(run_step, margin) -> None:
    with pytest.raises(
        ChunkMismatch, match="chunk 0-4_0-4_0-4 has nothing left without the margin"
    ):
        run_step(CropMargin(margin_size=margin), chunk=Chunk(np.zeros((4, 4, 4))))


def test_crop_bbox_that_leaves_an_empty_box_is_refused(run_step) -> None:
    crop = CropMargin(margin_size=(2, 0, 0, 2, 0, 0), crop_bbox=True)
    with pytest.raises(ChunkMismatch, match="the task's box 0-4_0-4_0-4 has nothing left"):
        run_step(crop, bbox=BoundingBox.parse("0-4_0-4_0-4"), chunk=Chunk(np.zeros((4, 4, 4))))


def test_without_a_margin_and_a_box_it_is_an_error(run_step) -> None:
    with pytest.raises(ChunkMismatch, match="no box to crop to; give --margin-size"):
        run_step(CropMargin(), chunk=Chunk(np.zeros((4, 4, 4))))


@pytest.mark.parametrize("margin", [(1, 1, 1), (0, 0, 0, 0, 0, -1)])
def test_a_margin_without_six_numbers_from_0_is_refused(margin) -> None:
    with pytest.raises(ValueError, match="margin_size"):
        CropMargin(margin_size=margin)
