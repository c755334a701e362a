from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.conversion import Tally, above, convert, convert_ids, count_nan


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


@pytest.mark.parametrize(
    ("values", "kind", "target", "expected"),
    [
        ([0, 255, 256, 65535, 3], "u2", "u1", 2),
        ([-1, 0, 255, 300, 5], "i2", "u1", 2),
        ([-129, -128, 127, 128, 0], "i2", "i1", 2),
        ([-5, 70000, 65535, 0, 1], "i4", "u2", 2),
        ([0, 1, 2.5, 200, 254.9], "f4", "u1", 3),
        ([0, 1 + 1e-3, -1e-3, 0.5, 1], "f4", "u1", 0),  # overshoots that round to 255 and to 0
        ([np.nan, np.inf, -np.inf, 1, 0], "f8", "u1", 3),
        ([np.nan, 32767, 32768, -40000, 0.2], "f4", "i2", 3),
        ([np.nan, 65504, 70000, -np.inf, 1], "f4", "f2", 2),
        ([65535, 1, 2, 3, 65504], "u2", "f2", 1),
        ([0, 1, 2, 3, np.inf], "f2", "u2", 1),
    ],
)
def test_the_values_that_do_not_fit_are_counted(values, kind, target, expected) -> None:
    array, tally = np.array(values, kind), Tally()
    convert(array, target, tally=tally)
    assert (tally.clipped, tally.values) == (expected, 5)
    assert tally.nan == np.isnan(values).sum()
    assert (tally.low, tally.high) == (np.nanmin(array), np.nanmax(array))


@pytest.mark.parametrize(
    ("kind", "target"), [("u1", "u2"), ("u1", "f4"), ("i2", "f8"), ("f2", "f4"), ("bool", "u1")]
)
def test_a_type_that_holds_all_values_needs_no_count(kind: str, target: str) -> None:
    tally = Tally()
    convert(np.ones((2, 3), kind), target, tally=tally)
    assert tally.values == 0


@given(
    arrays.arrays(np.float32, (3, 50), elements=st.floats(-2, 2, width=32)), st.sampled_from("CFT")
)
def test_counting_changes_no_value_in_any_memory_order(values: np.ndarray, order: str) -> None:
    laid_out = values[:, ::2].T if order == "T" else np.array(values, order=order)
    tally = Tally()
    made = convert(laid_out, np.uint8, tally=tally)
    expected = np.clip(np.rint(laid_out * np.float32(255)), 0, 255)
    assert np.array_equal(made, expected)
    rounded = np.rint(laid_out.astype(float) * 255)
    assert tally.clipped == ((rounded < 0) | (rounded > 255)).sum()


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("target", "ends"),
    [("u1", (0, 255)), ("u2", (0, 65535)), ("i1", (-128, 127)), ("f4", (0, 1)), ("f8", (0, 1))],
)
def test_a_scale_maps_its_ends_to_those_of_the_type(kind, target, ends) -> None:
    values, tally = np.array([0, 10, 35, 60, 85, 110, 120], kind), Tally()
    made = convert(values, target, (10, 110), tally)
    expected = np.interp(values.astype(float), (10, 110), ends)
    assert np.allclose(made, expected, rtol=1e-6, atol=0.5 if target[0] in "ui" else 0)
    assert made.dtype == target
    assert (tally.clipped, tally.low, tally.high) == (2, 0, 120)


def test_a_scale_saturates_infinity_and_makes_nan_0_in_integers() -> None:
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert convert(values, np.uint8, (0, 10)).tolist() == [0, 255, 0]
    assert np.array_equal(convert(values, "f4", (0, 10)), [np.nan, 1, 0], equal_nan=True)


INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
LARGEST = {**{t: np.iinfo(t).max for t in INTEGERS}, "float16": 2**11, "float32": 2**24}
LARGEST["float64"] = 2**53


@given(
    st.sampled_from(INTEGERS).flatmap(
        lambda kind: arrays.arrays(
            kind, st.integers(1, 4), elements=arrays.from_dtype(np.dtype(kind))
        )
    ),
    st.sampled_from(sorted(LARGEST)),
)
def test_ids_are_converted_exactly_or_refused(ids: np.ndarray, target: str) -> None:
    low = -LARGEST[target] if target[0] == "f" else np.iinfo(target).min
    if all(low <= i <= LARGEST[target] for i in ids.tolist()):
        made = convert_ids(ids, target)
        assert [int(i) for i in made.tolist()] == ids.tolist()
        assert made.dtype == target
    else:
        with pytest.raises(ChunkMismatch, match="id of the segmentation is"):
            convert_ids(ids, target)


@pytest.mark.parametrize(
    ("ids", "kind", "target", "text"),
    [
        ([7, 70000], "u4", "uint16", "largest id of the segmentation is 70000, and uint16 holds 0 "
         "to 65535; uint32 holds it"),
        ([7, -1], "i8", "uint64", "smallest id of the segmentation is -1, and uint64 holds 0 to "
         "18446744073709551615; int8 holds it"),
        ([2**24 + 1], "u4", "float32", "16777217, and float32 holds whole numbers up to 16777216 "
         "exactly; uint32 holds it"),
        ([2**53 + 1], "u8", "float64", "9007199254740993, and float64 holds .* uint64 holds it"),
        ([2049], "u2", "float16", "2049, and float16 holds .* 2048 exactly; uint16 holds it"),
        ([2**60], "f8", "uint32", "1152921504606846976, and uint32 holds .* uint64 holds it"),
        ([1, 2], "i2", "bool", "largest id of the segmentation is 2, and bool holds 0 to 1; uint8"),
        ([0.5], "f4", "uint8", "holds whole numbers, and this one holds 0.5"),
        ([np.nan], "f4", "uint64", "this one holds nan"),
        ([np.inf], "f2", "uint64", "this one holds inf"),
    ],
)  # fmt: skip
def test_the_refusal_names_the_id_and_a_type_that_holds_it(ids, kind, target, text) -> None:
    with pytest.raises(ChunkMismatch, match=text):
        convert_ids(np.array(ids, kind), target)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_ids_that_are_stored_as_floats_become_integers_again(kind: str) -> None:
    ids = np.array([0, 255, 2**24], kind)
    assert convert_ids(ids, np.uint64).tolist() == [0, 255, 2**24]
    assert convert_ids(ids[:2], np.uint8).tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["u8", "i8", "u4"])
def test_whole_numbers_are_compared_with_a_threshold_exactly(kind: str) -> None:
    big = 2**31 if kind == "u4" else 2**53
    values = np.array([0, big - 1, big, big + 1], kind)
    assert above(values, float(big)).tolist() == [False, False, False, True]
    assert above(values, 0.5).tolist() == [False, True, True, True]
    assert above(values, -np.inf).all()
    assert not above(values, np.inf).any()
    assert not above(values, np.nan).any()
