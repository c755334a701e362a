from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.image.conversion import convert, count_nan


def test_float_becomes_uint8_without_wrapping_around() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, np.inf, -np.inf, np.nan], np.float32)
    before = values.copy()
    assert convert(values, np.uint8).tolist() == [0, 0, 128, 255, 255, 255, 0, 0]
    assert np.array_equal(values, before, equal_nan=True), "the array in memory does not change"


def test_every_grey_value_survives_the_conversion_to_float_and_back() -> None:
    grey = np.arange(256, dtype=np.uint8)
    for kind in (np.float16, np.float32, np.float64):
        assert np.array_equal(convert(convert(grey, kind), np.uint8), grey)


@pytest.mark.parametrize("target", [np.uint16, np.uint32, np.uint64, np.int32])
def test_float_saturates_at_the_limits_of_wide_integers(target: type[np.integer]) -> None:
    limits = np.iinfo(target)
    values = np.array([-1e30, -0.4, 7.6, 1e30, np.nan], np.float32)
    assert convert(values, target).tolist() == [limits.min, 0, 8, limits.max, 0]


def test_integers_saturate() -> None:
    values = np.array([0, 255, 256, 70000], np.uint32)
    assert convert(values, np.uint8).tolist() == [0, 255, 255, 255]
    assert convert(np.array([-5, 5], np.int16), np.uint64).tolist() == [0, 5]


@given(arrays.arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)))
def test_conversion_to_uint16_is_rounding_and_clipping(values: np.ndarray) -> None:
    expected = [min(max(round(v), 0), 65535) for v in values.tolist()]
    assert convert(values, np.uint16).tolist() == expected


def test_float16_saturates_at_limits_that_it_cannot_hold() -> None:
    values = np.array([-1, 2, np.inf], np.float16)
    assert convert(values, np.uint32).tolist() == [0, 2, 2**32 - 1]


def test_nan_is_counted_in_floats_alone() -> None:
    assert count_nan(np.array([1, np.nan, np.nan, np.inf])) == 2
    assert count_nan(np.array([1, 2])) == 0
