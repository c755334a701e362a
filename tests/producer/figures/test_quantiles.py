from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.figures.quantiles import ERROR, Quantiles

NUMBERS = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=200)


def filled(numbers: list[float]) -> Quantiles:
    found = Quantiles()
    for number in numbers:
        found.add(number)
    return found


@given(NUMBERS, st.floats(0.01, 1))
def test_each_quantile_is_within_one_percent_of_that_of_all_numbers(
    numbers: list[float], share: float
) -> None:
    exact = sorted(numbers)[ceil(share * len(numbers)) - 1]
    assert filled(numbers).at(share) == pytest.approx(exact, rel=ERROR * 1.001)


@given(NUMBERS)
def test_count_sum_and_largest_are_exact(numbers: list[float]) -> None:
    found = filled(numbers)
    assert (found.count, found.largest) == (len(numbers), max(numbers))
    assert found.total == pytest.approx(sum(numbers))


def test_the_memory_does_not_grow_with_the_numbers() -> None:
    found = filled([1 + i / 10_000 for i in range(10_000)])
    assert len(found._bins) < 50
    assert found.above(1.5) == pytest.approx(5000, abs=200)


def test_no_numbers_and_zeros() -> None:
    assert Quantiles().median == Quantiles().mean == 0
    assert filled([0, 0, 5]).median == 0
    assert filled([0, 0, 5]).at(1) == 5
