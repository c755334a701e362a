"""Masks of larger voxels; tests/operators/test_mask.py compares them voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.mask import CoarseMask
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

VALUES = (np.random.default_rng(1).random((4, 6, 8)) > 0.6).astype(np.uint8) * 7
START = (2, -1, 3)


class Mask:
    """Stands for a stored volume of voxels of 40 x 32 x 32 nm."""

    path, channels, voxel_size = "mask", 1, (40.0, 32.0, 32.0)
    bounds = BoundingBox.sized(START, VALUES.shape)

    def read(self, bbox: BoundingBox) -> np.ndarray:
        return VALUES[bbox.slices(START)]


def read(box: BoundingBox, voxel_size: tuple[float, float, float], **options: bool) -> CoarseMask:
    return CoarseMask.read(Mask(), box, voxel_size, **options)  # type: ignore[arg-type]


boxes = st.builds(
    BoundingBox.sized,
    st.tuples(*[st.integers(-9, 40)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
)


@given(boxes, st.booleans())
def test_a_voxel_takes_the_mask_at_its_centre(box: BoundingBox, inverse: bool) -> None:
    """In voxels of 20 x 8 x 12.8 nm, of which 2 x 4 x 2.5 make one of the mask."""
    mask = read(box, (20.0, 8.0, 12.8), inverse=inverse)
    expected = np.zeros(box.size, bool)
    for place in np.ndindex(*box.size):
        centre = [p + s + 0.5 for p, s in zip(place, box.start, strict=True)]
        z, y, x = (int(c // r) - s for c, r, s in zip(centre, (2, 4, 2.5), START, strict=True))
        inside = 0 <= z < 4 and 0 <= y < 6 and 0 <= x < 8
        expected[place] = (inside and VALUES[z, y, x] != 0) != inverse
    assert np.array_equal(mask.at(box), expected)
    assert mask.any(box) == expected.any()


@given(boxes, st.data())
def test_a_part_of_the_box_has_the_same_mask(box: BoundingBox, data: st.DataObject) -> None:
    mask = read(box, (20.0, 8.0, 8.0))
    start = [data.draw(st.integers(a, b - 1)) for a, b in zip(box.start, box.stop, strict=True)]
    part = BoundingBox(Vec3(*start), box.stop)
    expected = mask.at(box)[part.slices(box.start)]
    assert np.array_equal(mask.at(part), expected)
    assert mask.any(part) == expected.any()


def test_sizes_that_differ_by_rounding_have_a_whole_ratio() -> None:
    Mask16 = type("Mask16", (Mask,), {"voxel_size": (40.0, 114.56, 114.56)})
    mask = CoarseMask.read(Mask16(), BoundingBox.parse("0-1_0-1_0-1"), (40.0, 7.16, 7.1600001))
    assert mask.ratios == (1, 16, 16)


def test_a_mask_of_smaller_voxels_is_refused() -> None:
    with pytest.raises(ChunkMismatch, match=r"voxels of 32.0 nm are finer than .* 33.0 nm"):
        read(BoundingBox.parse("0-1_0-1_0-1"), (40.0, 32.0, 33.0))


def test_a_mask_of_several_channels_is_refused(tmp_path: Path) -> None:
    bounds = BoundingBox.parse("0-4_0-4_0-4")
    create_volume(
        str(tmp_path),
        bounds=bounds,
        voxel_size=(1, 1, 1),
        block_size=Vec3(4, 4, 4),
        dtype="uint8",
        channels=2,
    )
    volume = PrecomputedVolume(str(tmp_path), fill_missing=True)
    with pytest.raises(ChunkMismatch, match="has 2 channels, and a mask has one"):
        CoarseMask.read(volume, bounds, (1.0, 1.0, 1.0))


axes = st.tuples(st.integers(-5, 20), st.integers(1, 7), st.integers(1, 4), st.integers(0, 6))


@given(st.tuples(axes, axes, axes), st.booleans())
def test_a_grid_of_boxes_is_answered_like_each_box(
    grid: tuple[tuple[int, int, int, int], ...], inverse: bool
) -> None:
    starts = [[first + size * n for n in range(count)] for first, size, count, _ in grid]
    stops = [
        [min(at + size, max(row) + max(1, size - cut)) for at in row]
        for row, (_, size, _, cut) in zip(starts, grid, strict=True)
    ]
    whole = BoundingBox(Vec3(*(row[0] for row in starts)), Vec3(*(row[-1] for row in stops)))
    mask = read(whole, (40, 8, 10), inverse=inverse)
    found = mask.any_in_grid(starts, stops)
    for place in np.ndindex(found.shape):
        start, stop = (Vec3(*(rows[i][n] for i, n in enumerate(place))) for rows in (starts, stops))
        assert found[place] == mask.any(BoundingBox(start, stop))
