"""normalize-section-shang"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.normalize_section_shang import NormalizeSectionShang

SHAPES = arrays.array_shapes(min_dims=3, max_dims=4, max_side=4)
IMAGES = st.one_of(
    arrays.arrays(np.uint8, SHAPES), arrays.arrays(np.int16, SHAPES, elements=st.integers(-9, 9))
)


def mapped(values: list[float], low: float, high: float, clip: bool) -> list[float]:
    """The expected values of one section, computed voxel by voxel."""
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return [low] * len(values)
    inside = distinct[1:-1]
    first, last = (inside[0], inside[-1]) if len(inside) > 1 else (distinct[0], distinct[-1])
    new = [low + (v - first) / (last - first) * (high - low) for v in values]
    return [min(max(v, low), high) for v in new] if clip else new


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    array=IMAGES,
    ends=st.sampled_from([(-1, 1), (0, 255), (5, 6), (-7.5, -0.25)]),
    clip=st.booleans(),
)
def test_each_section_is_mapped_to_the_nominal_range(
    run_step, array, ends: tuple, clip: bool
) -> None:
    chunk = Chunk(
        array.copy(), Vec3(1, 2, 3), (40.0, 4.0, 4.0), "image", BoundingBox.parse("0-90_0-90_0-90")
    )
    operator = NormalizeSectionShang(nominalmin=ends[0], nominalmax=ends[1], clipvalues=clip)
    result = run_step(operator, chunk=chunk).chunk("chunk")
    assert (result.dtype, result.array.shape) == (np.float32, array.shape)
    assert result.bbox == chunk.bbox
    assert result.voxel_size == chunk.voxel_size
    assert result.bounds == chunk.bounds
    assert np.array_equal(chunk.array, array)
    for old, new in zip(chunk.czyx, result.czyx, strict=True):
        for before, after in zip(old, new, strict=True):
            exact = mapped(before.ravel().tolist(), *ends, clip)
            np.testing.assert_allclose(after.ravel(), exact, rtol=1e-5, atol=1e-5)


def test_the_extremes_are_ignored_and_lie_outside_the_range_unless_clipped(run_step) -> None:
    section = np.array([[[0, 100, 125, 150, 255]]], np.uint8)
    result = run_step(
        NormalizeSectionShang(nominalmin=-1, nominalmax=1), chunk=Chunk(section)
    ).chunk("chunk")
    assert result.array.ravel().tolist() == pytest.approx([-5, -1, 0, 1, 5.2])
    clipped = run_step(
        NormalizeSectionShang(nominalmin=-1, nominalmax=1, clipvalues=True), chunk=Chunk(section)
    ).chunk("chunk")
    assert clipped.array.ravel().tolist() == [-1, -1, 0, 1, 1]


def test_a_single_grey_value_inside_is_not_used_as_the_range(run_step) -> None:
    """chunkflow 1.2.0 divided by this range of zero."""
    section = np.array([[[0, 51, 51, 255]]], np.uint8)
    result = run_step(
        NormalizeSectionShang(nominalmin=0, nominalmax=1), chunk=Chunk(section)
    ).chunk("chunk")
    assert result.array.ravel().tolist() == pytest.approx([0, 0.2, 0.2, 1])


@pytest.mark.parametrize(
    ("dtype", "greatest"), [("uint8", 255), ("uint16", 65535), ("int16", 32767)]
)
def test_the_defaults_use_the_range_of_the_dtype(run_step, dtype: str, greatest: int) -> None:
    """chunkflow 1.2.0 crashed with these defaults."""
    chunk = Chunk(np.array([[[1, 2, 3, 4]]], dtype), Vec3(7, 8, 9))
    result = run_step(NormalizeSectionShang(), chunk=chunk).chunk("chunk")
    assert result.array.ravel().tolist() == pytest.approx([-greatest, 0, greatest, 2 * greatest])
    assert result.voxel_offset == (7, 8, 9)  # chunkflow 1.2.0 lost it


def test_blank_sections_get_the_smallest_value(run_step) -> None:
    sections = [np.zeros((2, 2)), np.full((2, 2), 9), np.array([[1, 2], [3, 4]])]
    chunk = Chunk(np.stack(sections).astype(np.uint8))
    operator = NormalizeSectionShang(nominalmin=-1, nominalmax=1)
    result = run_step(operator, chunk=chunk).chunk("chunk").array
    assert result[:2].tolist() == np.full((2, 2, 2), -1).tolist()
    assert result[2].ravel().tolist() == [-3, -1, 1, 3]


def test_nan_and_infinity_are_ignored(run_step) -> None:
    values = np.array([[[math.nan, 0, 1, 2, 3, math.inf]], [[math.nan] * 6]], np.float32)
    operator = NormalizeSectionShang(nominalmax=10, clipvalues=True)
    result = run_step(operator, chunk=Chunk(values)).chunk("chunk").array
    assert np.array_equal(result[0].ravel(), [math.nan, 0, 0, 10, 10, 10], equal_nan=True)
    assert np.isnan(result[1]).all()


def test_large_integers_keep_their_differences(run_step) -> None:
    start = 2**52
    array = np.array([[[start, start + 1, start + 2, start + 3]]], np.uint64)
    chunk = Chunk(array, is_image=True)
    result = run_step(NormalizeSectionShang(nominalmin=0, nominalmax=1), chunk=chunk).chunk("chunk")
    assert result.array.ravel().tolist() == [-1, 0, 1, 2]


def test_dtypes_without_a_range_are_refused(run_step) -> None:
    with pytest.raises(
        ChunkMismatch, match="float32, which has no greatest grey: give --nominalmax"
    ):
        run_step(NormalizeSectionShang(), chunk=Chunk(np.zeros((1, 1, 2), np.float32)))
    with pytest.raises(
        ChunkMismatch, match="nominalmin 300 must be below 255, the greatest of uint8"
    ):
        run_step(NormalizeSectionShang(nominalmin=300), chunk=Chunk(np.zeros((1, 1, 2), np.uint8)))
    with pytest.raises(ChunkMismatch, match="takes numbers, and 'chunk' is bool"):
        run_step(NormalizeSectionShang(), chunk=Chunk(np.zeros((1, 1, 2), bool)))


@pytest.mark.parametrize(
    "options", [{"nominalmin": 1, "nominalmax": 1}, {"nominalmax": -1}, {"nominalmax": math.nan}]
)
def test_wrong_ranges_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="nominalmax"):
        NormalizeSectionShang(**options)


@pytest.mark.parametrize(
    ("value", "expected"), [("true", [0, 1]), ("false", [-1, 2]), ("1", [0, 1]), ("no", [-1, 2])]
)
def test_clipvalues_takes_a_value_on_the_command_line(
    tmp_path: Path, value: str, expected: list[float]
) -> None:
    (tmp_path / "make.py").write_text(
        "import numpy as np\nfrom chunkflow_worker.image.chunk import Chunk\n"
        "def execute():\n    return Chunk(np.array([[[1, 2, 3, 4]]], np.uint8))\n"
    )
    file = tmp_path / "out.npy"
    normalize = f"normalize-section-shang --nominalmax 1 --clipvalues {value}"
    line = f"plugin -f {tmp_path}/make -o chunk {normalize} save-npy -f {file}"
    done = CliRunner().invoke(cli, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    made = np.load(file)
    assert [made.min(), made.max()] == expected
