"""`Patching`: what must be read for a box, what can be produced, and the image that patches get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.inference.lattice import PatchShape
from chunkflow_worker.inference.patching import Patching

# Nets that see 1 x 2 x 2 voxels around their output.
SHAPE = PatchShape(Vec3(6, 12, 12), Vec3(4, 8, 8), Vec3(2, 4, 4))
IMAGE = BoundingBox.parse("0-30_0-60_0-60")
BOX = BoundingBox.parse("10-16_20-32_20-32")


def patching(border: Any = "inward", margin: tuple[int, int, int] = (2, 4, 4)) -> Patching:
    return Patching("chunk", SHAPE, Vec3(*margin), border)


def noise(box: BoundingBox, bounds: BoundingBox | None = None) -> Chunk:
    array = np.random.default_rng(0).integers(1, 255, box.size, np.uint8)
    return Chunk(array, box.start, bounds=bounds)


def test_patches_read_the_margin_and_the_context_of_the_net() -> None:
    needed = patching().input_box(BOX, None)
    assert needed == BoundingBox.parse("7-19_14-38_14-38")
    assert patching().lattice(BOX).input_box == needed
    assert patching().input_box(BOX, IMAGE) == needed, "the same away from the border"


def test_nothing_is_read_over_the_border() -> None:
    box = BoundingBox.parse("1-7_2-14_46-58")
    assert patching().input_box(box, IMAGE) == BoundingBox.parse("0-10_0-20_40-60")
    for border in ("reflect", "zeros"):
        whole = BoundingBox.parse("0-6_0-12_48-60")
        assert patching(border).input_box(whole, IMAGE) == BoundingBox.parse("0-9_0-18_42-60")


def test_a_box_that_reaches_out_of_the_image_is_read_as_far_as_there_is_image() -> None:
    box = BoundingBox.parse("24-40_20-32_20-32")
    assert IMAGE.contains(patching("zeros").input_box(box, IMAGE))


def test_output_ends_before_the_border_unless_the_image_is_extended() -> None:
    assert patching().output_bounds(IMAGE) == BoundingBox.parse("1-29_2-58_2-58")
    for border in ("reflect", "zeros"):
        assert patching(border).output_bounds(IMAGE) == IMAGE
    small = BoundingBox.parse("0-2_0-60_0-60")
    assert patching().output_bounds(small) == small, "nothing would be left"


def test_without_a_box_the_rim_is_cut_off() -> None:
    assert patching().without_rim(IMAGE) == BoundingBox.parse("3-27_6-54_6-54")
    smallest = BoundingBox.parse("0-7_0-13_0-13")
    assert patching().without_rim(smallest) == BoundingBox.parse("3-4_6-7_6-7")


@pytest.mark.parametrize(
    ("margin", "cure"),
    [
        ((2, 4, 4), "give a larger chunk, or mask_output_chunk to keep its rim"),
        ((0, 0, 0), "give a larger chunk"),
    ],
)
def test_a_chunk_that_is_all_rim_is_refused_with_a_cure(
    margin: tuple[int, int, int], cure: str
) -> None:
    cut = [a + b for a, b in zip(margin, (1, 2, 2), strict=True)]
    chunk = BoundingBox.sized((5, 5, 5), Vec3(*cut) * 2)
    with pytest.raises(ChunkMismatch) as error:
        patching(margin=margin).without_rim(chunk)
    each_side = f"cutting {cut} voxels from each side of {list(chunk.size)}"
    assert str(error.value) == f"{each_side} leaves nothing: {cure}"


def test_the_image_is_cut_from_the_chunk() -> None:
    chunk = noise(IMAGE)
    image, lattice = patching().cut(chunk, BOX)
    assert lattice.box == BOX
    assert np.array_equal(image[0], chunk.cutout(lattice.input_box).array)
    assert np.shares_memory(image, chunk.array)


def test_the_edge_of_a_chunk_with_less_context_than_the_volume_is_a_border() -> None:
    """The volume has the whole margin, the chunk has half of it, so patches move inward."""
    part = BoundingBox.parse("8-18_16-36_16-36")
    image, lattice = patching().cut(noise(part, bounds=IMAGE), BOX)
    assert lattice.input_box == part
    assert image.shape == (1, *part.size)
    whole, _ = patching().cut(noise(IMAGE), BOX)
    assert whole.shape == (1, 12, 24, 24)


@pytest.mark.parametrize("border", ["reflect", "zeros"])
def test_the_image_is_extended_over_its_border(border: str) -> None:
    chunk, box = noise(IMAGE), BoundingBox.parse("0-6_0-12_48-60")
    image, lattice = patching(border).cut(chunk, box)
    assert lattice.input_box == BoundingBox.parse("-3-9_-6-18_42-66")
    expected = np.pad(
        chunk.array[:9, :18, 42:],
        ((3, 0), (6, 0), (0, 6)),
        mode="reflect" if border == "reflect" else "constant",
    )
    assert np.array_equal(image[0], expected)
    if border == "zeros":
        assert not image[0, :3].any()


def test_a_chunk_with_channels_keeps_them() -> None:
    array = np.random.default_rng(0).random((3, *IMAGE.size))
    image, lattice = patching("reflect").cut(Chunk(array), BoundingBox.parse("0-6_0-12_0-12"))
    assert image.shape == (3, *lattice.input_box.size)


def test_a_chunk_without_any_voxel_to_read_is_refused() -> None:
    far = noise(BoundingBox.parse("100-110_100-120_100-120"))
    with pytest.raises(ChunkMismatch, match="which the patches read"):
        patching("zeros").cut(far, BOX)
