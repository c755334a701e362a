"""`Sizing`: memory and sizes of a job's boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.fit import Fit
from chunkflow_worker.inference.lattice import PatchShape
from chunkflow_worker.inference.plan import memory
from chunkflow_worker.inference.sizing import Sizing

# Nets that see 1 x 4 x 4 voxels around their output.
SHAPE = PatchShape(Vec3(10, 40, 40), Vec3(8, 32, 32), Vec3(2, 8, 8))
SIZING = Sizing(SHAPE, SHAPE.overlap, unit=Vec3(1, 8, 8), channels=3, dtype="uint8", stored="uint8")
SIZE = Vec3(10, 40, 40)


def test_the_second_task_in_flight_holds_its_image_or_its_output() -> None:
    """16 x 64 x 64 voxels are read for the box, in uint8; its output has three channels."""
    task = memory(SIZING.lattice(SIZE), 1, 3, "uint8", "uint8", 3)
    image, output = 16 * 64 * 64, 3 * 10 * 40 * 40
    assert (task.image, task.output) == (image, output)
    assert SIZING.bytes_needed(SIZE) == task.total + image
    many = replace(SIZING, channels=9)
    needed = memory(many.lattice(SIZE), 1, 9, "uint8", "uint8", 9)
    assert many.bytes_needed(SIZE) == needed.total + 9 * SIZE.product


def test_an_output_that_is_converted_to_be_stored_has_a_copy() -> None:
    half = replace(SIZING, dtype="float16", stored="float32")
    task = memory(half.lattice(SIZE), 1, 3, "uint8", "float16", 3)
    assert half.bytes_needed(SIZE) == task.total + task.output + 4 * 3 * SIZE.product


def test_a_fit_uses_the_limit_and_not_more() -> None:
    volume = Vec3(500, 2000, 2000)
    for limit in (10**7, 10**8, 10**9):
        fit = SIZING.fit(volume, limit)
        assert fit is not None
        assert limit / 2 < SIZING.bytes_needed(fit.size) <= limit
        assert fit.size % SIZING.unit == Vec3(0, 0, 0)


def test_the_smallest_box_needs_the_least_memory() -> None:
    smallest = SIZING.smallest()
    needed = SIZING.bytes_needed(smallest)
    volume = Vec3(500, 2000, 2000)
    assert SIZING.fit(volume, needed - 1) is None
    fit = SIZING.fit(volume, needed)
    assert fit is not None
    assert fit.size == smallest == Vec3(4, 16, 16)


def test_the_lines_for_people() -> None:
    fit = Fit(Vec3(2, 2, 2), SIZE, 0.36)
    assert list(SIZING.lines(fit, Vec3(10, 40, 20))) == [
        "input patch size: 10 40 40",
        "output patch size: 8 32 32",
        "output patch overlap: 2 8 8, stride 6 24 24",
        "crop chunk margin: 2 8 8",
        "patch num: 2 2 2, 8 patches per box",
        "output chunk size: 10 40 40",
        "input chunk size: 16 64 64, 3 12 12 voxels more on each side",
        "block size: 10 40 20, 0.024 MB before compression",
        "voxel utilization: 24%",
    ]


@pytest.mark.parametrize(("stored", "megabytes"), [("uint8", "0.024"), ("float32", "0.096")])
def test_blocks_have_the_stored_type(stored: str, megabytes: str) -> None:
    lines = replace(SIZING, stored=stored).lines(Fit(Vec3(2, 2, 2), SIZE, 0.36), Vec3(10, 40, 20))
    assert f"block size: 10 40 20, {megabytes} MB before compression" in list(lines)
