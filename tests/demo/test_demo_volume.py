"""The synthetic volume: a seed always gives the same volume, with membranes where cells meet."""

from __future__ import annotations

import numpy as np
import pytest
from em_volume import make_volume

SHAPE = (8, 128, 160)


@pytest.fixture(scope="module")
def volume():
    return make_volume(SHAPE, seed=3)


def test_shape_and_types(volume):
    image, membranes = volume
    assert image.shape == membranes.shape == SHAPE
    assert image.dtype == np.uint8
    assert membranes.dtype == bool


def test_a_seed_gives_the_same_volume_again(volume):
    again = make_volume(SHAPE, seed=3)
    np.testing.assert_array_equal(volume[0], again[0])
    np.testing.assert_array_equal(volume[1], again[1])


def test_another_seed_gives_another_volume(volume):
    image, membranes = make_volume(SHAPE, seed=4)
    assert (image != volume[0]).mean() > 0.9
    assert (membranes != volume[1]).mean() > 0.1


def test_membranes_fill_a_sensible_part_of_every_section(volume):
    parts = volume[1].mean((1, 2))
    assert parts.min() > 0.07
    assert parts.max() < 0.25


def test_grey_spans_the_range_without_saturating(volume):
    image, membranes = volume
    assert 120 < image.mean() < 190
    assert image.std() > 20
    assert (image == 255).mean() + (image == 0).mean() < 0.02
    assert image[membranes].mean() < image[~membranes].mean() - 25


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 33, 65), (11, 70, 40)])
def test_any_shape_works(shape):
    image, membranes = make_volume(shape, seed=5)
    assert image.shape == membranes.shape == shape
