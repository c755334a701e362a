"""The place of a file in nanometres becomes voxels, or is said not to."""

from __future__ import annotations

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.storage.voxel_metadata import VoxelMetadata, in_nanometres, voxel_size_of

SIZE = (40.0, 7.16, 4.0)


def test_whole_voxels_are_exact_and_others_are_rounded_and_told() -> None:
    whole = VoxelMetadata(origin=(400.0, 7.16 * 100_001, -4.0))
    assert whole.offset(SIZE) == ((10, 100_001, -1), "")
    half = VoxelMetadata(origin=(420.0, 716.0, 0.0))
    offset, problem = half.offset(SIZE)
    assert offset == (10, 100, 0)
    assert problem == "starts at 420 716 0 nm, which is rounded to whole voxels, 10 100 0"


def test_a_place_without_a_voxel_size_is_told_unless_it_is_zero() -> None:
    assert VoxelMetadata(origin=(0.0, 0.0, 0.0)).offset(None) == ((0, 0, 0), "")
    offset, problem = VoxelMetadata(origin=(0.0, 40.0, 0.0)).offset(None)
    assert offset is None
    assert "no voxel size" in problem


def test_a_place_in_voxels_counts_before_one_in_nanometres() -> None:
    both = VoxelMetadata(voxel_offset=Vec3(1, 2, 3), origin=(1.0, 1.0, 1.0))
    assert both.offset(SIZE) == ((1, 2, 3), "")
    assert VoxelMetadata().offset(SIZE) == (None, "")


def test_lengths_that_are_no_size() -> None:
    assert voxel_size_of([40, 4, 4]) == (40.0, 4.0, 4.0)
    nan, inf = float("nan"), float("inf")
    for lengths in ([0, 4, 4], [-1, 4, 4], [nan, 4, 4], [inf, 4, 4], [4, 4], []):
        assert voxel_size_of(lengths) is None


def test_units_leave_no_digits_of_rounding() -> None:
    assert in_nanometres(0.00716, 1000) == 7.16
    assert in_nanometres(1 / 3, 1) == 1 / 3
