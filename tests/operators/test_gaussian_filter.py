from __future__ import annotations

import numpy as np

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.gaussian_filter import GaussianFilter


def reference(array: np.ndarray, sigma: int) -> np.ndarray:
    """A direct sum with numpy along y and x, with mirrored edges."""
    reach = 4 * sigma
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    result = array.astype(float)
    for axis in (1, 2):
        padded = np.pad(
            result, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="symmetric"
        )
        n = array.shape[axis]
        result = sum(w * np.take(padded, range(i, i + n), axis) for i, w in enumerate(kernel))
    return result


def test_values(run_step) -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 20, 21), np.uint8)
    made = run_step(GaussianFilter(sigma=2), chunk=Chunk(image)).chunk("chunk").array
    assert made.dtype == np.uint8
    assert np.abs(made - reference(image, 2)).max() <= 0.5001
    channels = np.random.default_rng(2).random((2, 9, 10, 11))
    made = run_step(GaussianFilter(), chunk=Chunk(channels)).chunk("chunk").array
    assert np.allclose(made, [reference(c, 1) for c in channels])


def test_a_boolean_mask_is_smoothed_and_rounded(run_step) -> None:
    mask = np.random.default_rng(4).random((9, 10, 11)) > 0.5
    made = run_step(GaussianFilter(), chunk=Chunk(mask)).chunk("chunk").array
    assert np.array_equal(made, reference(mask, 1) > 0.5)


def test_with_the_margin_the_result_does_not_depend_on_the_cut(run_step) -> None:
    image = np.random.default_rng(3).random((24, 24, 24)).astype(np.float32)
    operator = GaussianFilter(sigma=1)
    whole = run_step(operator, chunk=Chunk(image)).chunk("chunk").array
    z, y, x = operator.margin
    part = image[8 - z : 16 + z, 8 - y : 16 + y, 8 - x : 16 + x]
    made = run_step(operator, chunk=Chunk(part, Vec3(8 - z, 8 - y, 8 - x))).chunk("chunk").array
    assert np.array_equal(made[z : z + 8, y : y + 8, x : x + 8], whole[8:16, 8:16, 8:16])


def test_sections_are_filtered_independently_as_in_chunkflow(run_step) -> None:
    image = np.zeros((3, 9, 9), np.float32)
    image[1] = 1
    made = run_step(GaussianFilter(), chunk=Chunk(image)).chunk("chunk").array
    assert np.allclose(made, image)
