"""`Arrays`: both kinds of memory, the host's and torch's, do what the protocol says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of

from chunkflow_worker.image.conversion import convert
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.torch_net.arrays import TorchArrays

HOST, TORCH = HostArrays(), TorchArrays("cpu")
BOTH = pytest.mark.parametrize("arrays", [HOST, TORCH], ids=["numpy", "torch"])

SPECIAL = st.sampled_from(
    [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1.0,
        0.5,
        1.5 / 255,
        2.5 / 255,
        65504.0,
        65519.0,
        65520.0,
        1e38,
        -1e38,
        1e-8,
    ]
)
VALUES = st.one_of(st.floats(-2, 2, width=32), st.floats(width=32), SPECIAL)


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_sent_slab_is_converted_like_a_chunk(
    arrays: Any, dtype: str, data: st.DataObject
) -> None:
    """Saturated, rounded to the nearest even number, NaN as zero."""
    shape = tuple(data.draw(st.integers(1, 4)) for _ in range(4))
    slab = data.draw(arrays_of(np.float32, shape, elements=VALUES))
    out = np.full(shape, 99, dtype)
    expected = convert(slab, dtype)
    given_slab = arrays.put(slab.copy())
    arrived = arrays.send(given_slab, out)
    given_slab[:] = 7  # the caller may change it at once
    arrived()
    assert np.array_equal(out, expected, equal_nan=dtype != "uint8")


@BOTH
def test_sending_fills_a_part_of_the_result(arrays: Any) -> None:
    result = np.zeros((2, 8, 4, 5), np.uint8)
    values = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    slab = arrays.put(values.copy())
    arrays.send(slab[:, 1:3], result[:, 2:4])()
    assert np.array_equal(result[:, 2:4], convert(values[:, 1:3], np.uint8))
    assert not result[:, :2].any()
    assert not result[:, 4:].any()


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 40), st.integers(1, 6), st.integers(0, 999)
)
def test_both_memories_blend_to_the_same_values(
    channels: int, height: int, width: int, patches: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (height, 5, width)
    means, totals = [], []
    steps = [
        (
            rng.normal(size=(channels, *shape)).astype(np.float32) if rng.random() < 0.8 else None,
            rng.random(shape, np.float32) + 1e-6,
        )
        for _ in range(patches)
    ]
    for arrays in (HOST, TORCH):
        mean, total = arrays.zeros((channels, *shape)), arrays.zeros(shape)
        for values, weights in steps:
            arrays.blend(
                mean, total, None if values is None else arrays.put(values), arrays.put(weights)
            )
        means.append(np.asarray(mean))
        totals.append(np.asarray(total))
    assert np.array_equal(*totals)
    assert np.abs(means[0] - means[1]).max() < 2e-6
    zeros = np.zeros((channels, *shape), np.float32)
    expected = sum((zeros if v is None else v).astype(float) * w for v, w in steps) / sum(
        w.astype(float) for _, w in steps
    )
    assert np.abs(means[0] - expected).max() < 5e-6


@BOTH
@settings(max_examples=40)
@given(data=st.data())
def test_patches_that_agree_keep_their_value_exactly(arrays: Any, data: st.DataObject) -> None:
    shape = (2, 2, 3, data.draw(st.integers(1, 20)))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(arrays_of(np.float32, shape, elements=finite))
    weights = [
        data.draw(arrays_of(np.float32, shape[1:], elements=st.floats(2**-20, 1, width=32)))
        for _ in range(3)
    ]
    mean, total = arrays.zeros(shape), arrays.zeros(shape[1:])
    arrays.place(arrays.put(values.copy()), mean)
    total[:] = arrays.put(weights[0])
    for weight in weights[1:]:
        arrays.blend(mean, total, arrays.put(values.copy()), arrays.put(weight))
    assert np.array_equal(np.asarray(mean), values)


@BOTH
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_values_that_are_not_finite_affect_their_own_voxel_only(arrays: Any) -> None:
    shape = (1, 1, 1, 4)
    mean, total, weights = (
        arrays.zeros(shape),
        arrays.zeros(shape[1:]),
        arrays.put(np.ones(shape[1:], np.float32)),
    )
    first = np.array([1, np.nan, 3, np.inf], np.float32).reshape(shape)
    second = np.array([3, 1, np.nan, 1], np.float32).reshape(shape)
    total[:] = weights
    arrays.place(arrays.put(first), mean)
    arrays.blend(mean, total, arrays.put(second), weights)
    found = np.asarray(mean).ravel()
    assert found[0] == 2
    assert not np.isfinite(found[1:]).any()


@BOTH
def test_float32_results_are_shared_and_others_are_not(arrays: Any) -> None:
    result = np.zeros((1, 2, 3, 4), np.float32)
    shared = arrays.share(result)
    shared[:] = 3
    assert (result == 3).all()
    assert arrays.share(np.zeros((1, 2, 3, 4), np.uint8)) is None


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "bool", "float16", ">f4"])
def test_integers_are_scaled_to_one_and_floats_are_not(arrays: Any, dtype: str) -> None:
    integer = np.dtype(dtype).kind in "ui"
    values = np.array([0, 1, np.iinfo(dtype).max if integer else 1], dtype).reshape(1, 1, 1, 3)
    scaled = np.asarray(arrays.unit_range(arrays.put(values)))
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, values / values.max() if integer else values.astype(float))
    assert scaled.max() == 1


@BOTH
def test_channels_are_chosen_and_a_single_one_is_repeated_without_a_copy(arrays: Any) -> None:
    three = np.arange(3 * 4, dtype=np.float32).reshape(3, 1, 2, 2)
    assert np.array_equal(arrays.channels(arrays.put(three), [2, 0, 0]), three[[2, 0, 0]])
    one = three[:1]
    repeated = np.asarray(arrays.channels(arrays.put(one), [0, 0, 0, 0]))
    assert np.array_equal(repeated, np.repeat(one, 4, axis=0))
    assert np.shares_memory(repeated, one)


@BOTH
def test_zeros_are_new_float32_arrays(arrays: Any) -> None:
    first, second = arrays.zeros((1, 2, 3, 4)), arrays.zeros((1, 2, 3, 4))
    first[:] = 1
    assert np.asarray(second).dtype == np.float32
    assert np.asarray(second).shape == (1, 2, 3, 4)
    assert not np.asarray(second).any()


@BOTH
def test_a_patch_of_none_counts_as_zeros(arrays: Any) -> None:
    shape = (2, 1, 1, 3)
    mean, total = arrays.zeros(shape), arrays.zeros(shape[1:])
    mean[:], total[:] = 8, 1
    arrays.blend(mean, total, None, arrays.put(np.full(shape[1:], 3, np.float32)))
    assert (np.asarray(mean) == 2).all()
    assert (np.asarray(total) == 4).all()


@BOTH
@pytest.mark.parametrize(
    ("dtype", "values", "clipped"),
    [
        ("uint8", [0, 1, 1.001, -0.001, 1.01, -3, np.nan, np.inf], 4),
        ("float16", [0, 65504, 7e4, -7e4, np.nan, 1, 2, 3], 2),
        ("float32", [0, 7e4, np.nan, np.inf, -1, 2, 3, 4], 0),
    ],
)
def test_values_that_the_type_does_not_hold_are_counted(
    arrays: Any, dtype: str, values: list[float], clipped: int
) -> None:
    slab = np.array([values, values], np.float32).reshape(2, 2, 2, 2)
    assert arrays.send(arrays.put(slab), np.zeros(slab.shape, dtype))() == 2 * clipped
