"""Inputs and outputs of nets, checked against what the options declare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.net_shapes import (
    LARGEST,
    check_input,
    check_output,
    checked_output,
    middle,
)

SPEC = EngineSpec(Vec3(4, 8, 10), Vec3(2, 4, 6), channels=2, input_channels=3)


@pytest.mark.parametrize(
    "taken", [(1, 3, 4, 8, 10), ("n", 3, 4, 8, 10), (None, "c", "z", None, 10), (7, 3, 4, 8, 10)]
)
def test_declared_and_free_input_sizes_are_accepted(taken: Any) -> None:
    check_input("the net takes", taken, SPEC)


@pytest.mark.parametrize(
    ("taken", "cure"),
    [
        ((1, 1, 4, 8, 10), "give --num-input-channels 1"),
        ((1, 3, 4, 8, 8), "give --input-patch-size 4 8 8"),
        (("n", 3, "z", 8, 4), "give --input-patch-size 4 8 4"),
        (("n", 2, 10, 8, 4), "give --input-patch-size 10 8 4 and --num-input-channels 2"),
        ((3, 4, 8, 10), ""),
        ((1, 1, 3, 4, 8, 10), ""),
        ((), ""),
    ],
)
def test_other_input_sizes_are_refused_with_both_and_the_options(taken: Any, cure: str) -> None:
    with pytest.raises(ModelError) as error:
        check_input("net.onnx takes", taken, SPEC)
    assert str(error.value) == (
        f"net.onnx takes input {list(taken)} (nczyx); the options declare [n, 3, 4, 8, 10]"
        + (f"\n    {cure}" if cure else "")
    )


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(0, 4)] * 3))
def test_the_middle_has_the_same_margin_on_each_side(
    output_size: tuple[int, int, int], crop: tuple[int, int, int]
) -> None:
    size = Vec3(*output_size)
    whole = size + Vec3(*crop) * 2
    positions = np.stack(np.indices(whole))[np.newaxis]
    kept = middle(positions, whole, size)
    assert kept.shape == (1, 3, *size)
    assert tuple(kept[0, :, 0, 0, 0]) == crop
    assert tuple(kept[0, :, -1, -1, -1]) == tuple(
        n - c - 1 for n, c in zip(whole, crop, strict=True)
    )


def test_an_output_smaller_than_the_input_is_not_cut() -> None:
    output = np.zeros((1, 2, 2, 4, 6))
    assert middle(output, (4, 8, 10), Vec3(2, 4, 6)) is output


@pytest.mark.parametrize("shape", [(5, 2, 2, 4, 6), (5, 9, 2, 4, 6)])
def test_outputs_with_the_declared_channels_or_more_are_accepted(shape: tuple[int, ...]) -> None:
    check_output("the net", shape, SPEC)
    check_output("the net", shape, SPEC, patches=5)


@pytest.mark.parametrize(
    ("shape", "cure"),
    [
        ((5, 1, 2, 4, 6), "give --num-output-channels 1"),
        ((5, 1, 4, 8, 10), "give --num-output-channels 1"),
        ((5, 2, 2, 4, 4), "give --output-patch-size 2 4 4 (-z), if it lies in the middle"),
        ((5, 2, 3, 4, 6), "can't lie in the middle of the input patch: make it smaller by an even"),
        ((5, 2, 8, 16, 20), "larger than the input patch: cut or downsample it in post_process"),
        ((5, 2, 4, 6, 2), "def post_process(output): return output.movedim(-1, 1)"),
        ((5, 4, 8, 10, 2), "def post_process(output): return output.movedim(-1, 1)"),
        ((2, 2, 4, 6), "def post_process(output): return output[None]"),
        ((5, 4, 8, 10), "def post_process(output): return output[:, None]"),
        ((2, 4, 6), "def post_process(output): return output[None, None]"),
        ((4, 2, 2, 4, 6), "one output for each of 5 patches"),
        (
            (5, 3, 2, 2, 4, 6),
            "it holds 3 outputs: write in its file: def post_process(output): retu",
        ),
        ((1, 5, 2, 2, 4, 5), ""),
        ((), ""),
    ],
)
def test_other_outputs_are_refused_with_both_and_the_cure(
    shape: tuple[int, ...], cure: str
) -> None:
    with pytest.raises(ModelError) as error:
        check_output("the net", shape, SPEC, patches=5)
    first, *rest = str(error.value).splitlines()
    assert first == (
        f"the net returned shape {list(shape)} (n, channels, z, y, x); "
        "the options declare at least 2 channels of [2, 4, 6]"
    )
    assert len(rest) == bool(cure)
    assert cure in "".join(rest)


def test_an_output_of_one_patch_with_four_axes_lacks_the_channels() -> None:
    with pytest.raises(ModelError, match=r"axis of channels is missing.*output\[:, None\]"):
        check_output("the net", (1, 2, 4, 6), SPEC, patches=1)


ANY = EngineSpec(Vec3(4, 8, 10), Vec3(2, 4, 6), channels=None)


@pytest.mark.parametrize(("given", "kept"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_without_a_number_all_channels_are_kept_but_at_most_three(
    caplog: pytest.LogCaptureFixture, given: int, kept: int
) -> None:
    """As in chunkflow, whose default is 3; that some are left out is told once."""
    output = np.random.default_rng(0).random((1, given, 2, 4, 6))
    for _ in range(2):
        found = checked_output(output, ANY, "the net")
        assert np.array_equal(found, output[:, :kept].astype(np.float32))
    told = [record.getMessage() for record in caplog.records]
    assert [text[:54] for text in told] == (
        ["the net returns 5 channels, and the first 3 are kept: "] if given == 5 else []
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_a_checked_output_has_the_first_channels_as_float32(dtype: str) -> None:
    output = (np.random.default_rng(0).random((2, 5, 2, 4, 6)) * 9).astype(dtype)
    kept = checked_output(output, SPEC, "the net")
    assert kept.dtype == np.float32
    assert np.array_equal(kept, output[:, :2].astype(np.float32))


def test_infinite_outputs_become_the_largest_float32_and_nan_stays() -> None:
    output = np.zeros((1, 2, 2, 4, 6))
    output[0, 0, 0, 0, :4] = np.inf, -np.inf, np.nan, LARGEST
    with np.errstate(all="ignore"):
        kept = checked_output(output, SPEC, "the net")
    assert kept[0, 0, 0, 0, :2].tolist() == [LARGEST, -LARGEST]
    assert np.isnan(kept[0, 0, 0, 0, 2])
    assert kept[0, 0, 0, 0, 3] == LARGEST


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ([1, 2, 3], "returned 3 values"),
        ((np.zeros((1, 2, 2, 4, 6)), np.zeros((1, 2, 4, 8, 10))), "returned 2 values"),
        ({"a": 1}, "returned 1 values"),
        (np.zeros((1, 2, 2, 4, 6), complex), "returned complex numbers"),
        (None, "returned no array"),
        ("text", "returned no array"),
        (np.zeros((2, 2, 4, 6)), "let PatchInferencer return output[None]"),
        (np.zeros((1, 2, 4, 6, 3)), "let PatchInferencer return np.moveaxis(output, -1, 1)"),
    ],
)
def test_what_is_no_array_of_patches_is_refused(output: Any, told: str) -> None:
    with pytest.raises(ModelError, match="PatchInferencer returned") as error:
        checked_output(output, SPEC, "PatchInferencer", "PatchInferencer")
    assert told in str(error.value)
