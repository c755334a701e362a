"""Where patches lie: properties of all lattices, and some counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import Lattice, PatchShape, make_lattice

sizes = st.integers(1, 12)
crops = st.integers(0, 3)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, BoundingBox, PatchShape, BoundingBox]:
    """A kind, a box inside bounds, and a patch that fits the bounds."""
    kind = draw(st.sampled_from(["chunk", "global"]))
    output = Vec3(*(draw(sizes) for _ in range(3)))
    crop = Vec3(*(draw(crops) for _ in range(3)))
    overlap = Vec3(*(draw(st.integers(0, o - 1)) for o in output))
    start = Vec3(*(draw(st.integers(-20, 20)) for _ in range(3)))
    extra = Vec3(*(draw(st.integers(0, 25)) for _ in range(3)))
    bounds = BoundingBox.sized(start, output + crop * 2 + extra)
    inner = bounds.grow(-crop)
    low = [draw(st.integers(a, b - 1)) for a, b in zip(inner.start, inner.stop, strict=True)]
    high = [draw(st.integers(a + 1, b)) for a, b in zip(low, inner.stop, strict=True)]
    return (
        kind,
        BoundingBox(Vec3(*low), Vec3(*high)),
        PatchShape(output + crop * 2, output, overlap),
        bounds,
    )


def coverage(lattice: Lattice) -> np.ndarray:
    """How many patches write to each voxel of the lattice's box."""
    count = np.zeros(lattice.box.size, int)
    for patch in lattice.patches():
        inside = BoundingBox.sized(patch, lattice.shape.output).clip(lattice.box)
        assert inside, "a patch that does not touch the box"
        count[inside.slices(lattice.box.start)] += 1
    return count


@given(cases())
def test_patches_cover_the_box_and_stay_inside_the_image(case: tuple) -> None:
    kind, box, shape, bounds = case
    lattice = make_lattice(kind, box, shape, bounds)
    assert coverage(lattice).min() >= 1
    assert bounds.contains(lattice.input_box)
    assert all(list(s) == sorted(set(s)) for s in lattice.starts), "ascending, without duplicates"
    assert len(list(lattice.patches())) == lattice.count


@given(cases())
def test_reading_what_the_lattice_needs_gives_the_same_lattice(case: tuple) -> None:
    kind, box, shape, bounds = case
    lattice = make_lattice(kind, box, shape, bounds)
    # A loader reads only input_box, so what is outside it must not matter.
    assert make_lattice(kind, box, shape, bounds).starts == lattice.starts
    if kind == "chunk":
        assert make_lattice(kind, box, shape, lattice.input_box).starts == lattice.starts


@given(cases())
def test_global_patches_at_a_voxel_do_not_depend_on_the_box(case: tuple) -> None:
    _, box, shape, bounds = case
    whole = make_lattice("global", bounds.grow(-shape.crop), shape, bounds)
    part = make_lattice("global", box, shape, bounds)
    for axis in range(3):
        touching = [
            s
            for s in whole.starts[axis]
            if s < box.stop[axis] and s + shape.output[axis] > box.start[axis]
        ]
        assert list(part.starts[axis]) == touching


def test_chunk_lattice_is_that_of_chunkflow_if_whole_patches_fit() -> None:
    shape = PatchShape(Vec3(20, 256, 256), Vec3(20, 256, 256), Vec3(4, 64, 64))
    lattice = make_lattice("chunk", BoundingBox.parse("4-32_64-384_64-384"), shape)
    assert lattice.input_box == BoundingBox.parse("0-36_0-448_0-448")
    assert lattice.starts == ((0, 16), (0, 192), (0, 192))
    assert lattice.count == 8


def test_last_patch_is_shifted_back_if_they_do_not_fit() -> None:
    shape = PatchShape(Vec3(4, 8, 8), Vec3(4, 8, 8), Vec3(0, 2, 2))
    lattice = make_lattice(
        "chunk", BoundingBox.parse("0-4_0-15_0-8"), shape, BoundingBox.parse("0-4_0-15_0-8")
    )
    assert lattice.starts == ((0,), (0, 6, 7), (0,))


def test_global_lattice_is_anchored_at_the_origin() -> None:
    shape = PatchShape(Vec3(1, 1, 8), Vec3(1, 1, 8), Vec3(0, 0, 2))
    lattice = make_lattice("global", BoundingBox.parse("0-1_0-1_-3-1"), shape)
    assert lattice.starts[2] == (-6, 0)


def test_a_patch_larger_than_the_image_is_refused_with_a_cure() -> None:
    shape = PatchShape(Vec3(20, 8, 8), Vec3(20, 8, 8), Vec3(0, 0, 0))
    with pytest.raises(
        ChunkMismatch, match="20 voxels along z is larger than the image's 18: take a smaller patch"
    ):
        make_lattice(
            "chunk", BoundingBox.parse("0-18_0-8_0-8"), shape, BoundingBox.parse("0-18_0-8_0-8")
        )


def test_valid_convolutions_cannot_reach_the_border() -> None:
    shape = PatchShape(Vec3(4, 8, 8), Vec3(4, 4, 4), Vec3(0, 0, 0))
    with pytest.raises(ChunkMismatch, match="needs 2 voxels of context along y"):
        make_lattice(
            "chunk", BoundingBox.parse("0-4_0-8_2-6"), shape, BoundingBox.parse("0-4_0-8_0-8")
        )


@pytest.mark.parametrize("output", [(4, 8, 8), (2, 8, 4), (4, 6, 2)])
def test_an_output_patch_in_the_middle_of_the_input_patch_is_legal(
    output: tuple[int, int, int],
) -> None:
    PatchShape(Vec3(4, 8, 8), Vec3(*output), Vec3(0, 0, 0)).check_sizes()


@pytest.mark.parametrize("output", [(4, 8, 7), (4, 10, 8), (5, 8, 8)])
def test_other_output_patches_are_refused(output: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be centred in input patch \[4, 8, 8\]: smaller by"):
        PatchShape(Vec3(4, 8, 8), Vec3(*output), Vec3(0, 0, 0)).check_sizes()


def test_overlaps_and_margins_are_smaller_than_the_output_patch() -> None:
    shape = PatchShape(Vec3(4, 8, 8), Vec3(4, 6, 6), Vec3(0, 0, 0))
    shape.check_within_output("overlap", Vec3(3, 5, 0))
    for value in (Vec3(4, 0, 0), Vec3(0, 6, 0), Vec3(0, 0, -1)):
        with pytest.raises(ValueError, match=r"^overlap .* smaller than the output patch"):
            shape.check_within_output("overlap", value)


def test_crop_and_stride() -> None:
    shape = PatchShape(Vec3(6, 12, 12), Vec3(4, 8, 6), Vec3(1, 2, 3))
    assert (shape.crop, shape.stride) == (Vec3(1, 2, 3), Vec3(3, 6, 3))
