"""Labels of 8 and 16 bits are told from greys."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chunkflow_worker.image.labels import looks_labelled

SHAPE = (16, 64, 64)
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.random(SHAPE)


def cells(number: int, radius: float = np.inf) -> np.ndarray:
    """Each voxel has the number of the closest seed, or 0 if that is far."""
    seeds = np.ones(SHAPE, bool)
    places = np.random.default_rng(number).choice(seeds.size, number, replace=False)
    seeds.flat[places] = False
    ids = np.zeros(SHAPE, int)
    ids.flat[places] = 1 + np.arange(number)
    distance, nearest = ndimage.distance_transform_edt(seeds, return_indices=True)
    return np.where(distance <= radius, ids[tuple(nearest)], 0)


def blurred(sigma: float) -> np.ndarray:
    made = ndimage.gaussian_filter(NOISE, sigma)
    return (made - made.min()) / np.ptp(made)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("radius", [4, 8, np.inf])
@pytest.mark.parametrize("number", [2, 3, 20, 100])
def test_cells_are_labels(kind: str, radius: float, number: int) -> None:
    assert looks_labelled(cells(number, radius).astype(kind))


def test_many_cells_of_16_bits_and_negative_ids_are_labels() -> None:
    assert looks_labelled((cells(500, 5) * 17).astype("u2"))
    assert looks_labelled((-3 * cells(30)).astype("i1"))


@pytest.mark.parametrize(
    "image",
    [
        NOISE * 255,
        90 + NOISE * 70,
        blurred(1) * 255,
        blurred(2) * 255,
        blurred(4) * 60,
        blurred(4) * 10,
        RANDOM.poisson(1.5, SHAPE),
        RANDOM.poisson(0.1, SHAPE),
        RANDOM.poisson(6 * blurred(3)),
        np.clip(blurred(2) * 4 - 1.5, 0, 1) * 255,  # saturated on both sides
        255 / (1 + np.exp(-40 * (blurred(3) - 0.5))),  # a probability map
        np.clip(blurred(1) * 300, 0, 255),
        np.where(np.arange(64) < 40, 0, NOISE * 255),  # partly outside the tissue
    ],
)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16"])
def test_greys_are_no_labels(image: np.ndarray, kind: str) -> None:
    assert not looks_labelled(image.astype(kind))


def test_an_array_one_voxel_wide_is_not_known_to_be_labels() -> None:
    assert not looks_labelled(cells(3).astype("u1")[..., :1])


def test_of_a_large_array_some_rows_are_looked_at() -> None:
    labels = np.tile(cells(100).astype("u2"), (3, 8, 8))
    assert looks_labelled(labels)
    assert not looks_labelled(np.tile((NOISE * 255).astype("u1"), (3, 8, 8)))
