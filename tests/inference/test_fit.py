"""`fit_box` and `block_size`. tests/operators/test_setup_env.py compares with all boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.fit import Fit, block_size, fit_box
from chunkflow_worker.inference.lattice import PatchShape, make_lattice

NONE = Vec3(0, 0, 0)
ONE = Vec3(1, 1, 1)
# Patches of 8 x 32 x 32 with a stride of 6 x 24 x 24.
SHAPE = PatchShape(Vec3(8, 32, 32), Vec3(8, 32, 32), Vec3(2, 8, 8))


def voxels(size: Vec3) -> int:
    return size.product


def test_a_box_counted_by_hand() -> None:
    """2 x 2 x 2 patches cover 14 x 56 x 56 voxels; the margin takes the overlap from each side."""
    size = Vec3(10, 40, 40)
    fit = fit_box(SHAPE, SHAPE.overlap, Vec3(10, 40, 40), ONE, size.product, voxels)
    assert fit == Fit(Vec3(2, 2, 2), size, size.product / Vec3(14, 56, 56).product)


def test_the_size_is_rounded_down_to_the_unit() -> None:
    fit = fit_box(SHAPE, SHAPE.overlap, Vec3(10, 40, 40), Vec3(1, 16, 16), 10 * 40 * 40, voxels)
    assert fit is not None
    assert fit.size == Vec3(10, 32, 32)


def test_more_memory_never_gives_a_worse_box() -> None:
    kept = []
    for limit in range(4 * 16 * 16, 200_000, 997):
        fit = fit_box(SHAPE, SHAPE.overlap, Vec3(400, 400, 400), ONE, limit, voxels)
        assert fit is not None
        assert fit.size.product <= limit
        kept.append(fit.kept)
    assert kept == sorted(kept)
    assert kept[-1] > 3 * kept[0]


def test_a_box_is_not_larger_than_the_volume_needs() -> None:
    fit = fit_box(SHAPE, NONE, Vec3(20, 60, 100), ONE, 1 << 60, voxels)
    assert fit is not None
    assert Vec3(20, 60, 100).fits_in(fit.size)
    assert (fit.size - SHAPE.stride + 1).fits_in(Vec3(20, 60, 100)), "one patch less is too few"


@settings(max_examples=60)
@given(st.data())
def test_patches_and_share_are_those_of_the_lattice(data: st.DataObject) -> None:
    def triple(low: int, high: Vec3) -> Vec3:
        return Vec3(*(data.draw(st.integers(low, n)) for n in high))

    output = triple(1, Vec3(6, 12, 12))
    shape = PatchShape(output, output, triple(0, output - 1))
    margin, unit = triple(0, output - 1), triple(1, Vec3(2, 4, 4))
    limit = data.draw(st.integers(1, 100_000))
    fit = fit_box(shape, margin, triple(1, Vec3(40, 90, 90)), unit, limit, voxels)
    if fit is None:
        return
    lattice = make_lattice("chunk", BoundingBox.sized((0, 0, 0), fit.size), shape, margin=margin)
    assert [len(starts) for starts in lattice.starts] == list(fit.patches)
    assert fit.size.product <= limit
    assert fit.size % unit == NONE
    computed = fit.patches * shape.stride + shape.overlap
    assert fit.kept == pytest.approx(fit.size.product / computed.product)


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 3000)))
def test_blocks_divide_their_box(size: tuple[int, int, int]) -> None:
    block = block_size(Vec3(*size))
    assert not any(Vec3(*size) % block)
    for n, got, wanted in zip(size, block, (32, 128, 128), strict=True):
        others = [d for d in range(1, n + 1) if n % d == 0]
        assert all(abs(np.log(got / wanted)) <= abs(np.log(d / wanted)) + 1e-9 for d in others)


def test_there_is_no_box_without_memory() -> None:
    shape = PatchShape(ONE, ONE, NONE)
    assert fit_box(shape, NONE, ONE, ONE, 10, lambda size: 11) is None
