"""The weights of a patch's voxels, for each bump."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.weights import patch_weights


@pytest.mark.parametrize("bump", ["wu", "zung", "linear"])
@pytest.mark.parametrize("size", [Vec3(1, 1, 1), Vec3(5, 8, 9), Vec3(20, 64, 64), Vec3(2, 256, 3)])
def test_weights_are_positive_symmetric_and_highest_in_the_middle(bump: str, size: Vec3) -> None:
    weights = patch_weights(size, bump)
    assert weights.shape == size
    assert weights.min() > 0
    assert weights.max() == 1
    assert weights[tuple(n // 2 for n in size)] == pytest.approx(1)
    for axis in range(3):
        assert np.allclose(weights, np.flip(weights, axis), atol=1e-7)


def test_wu_is_the_documented_function() -> None:
    """Computed independently, voxel by voxel, in double precision."""
    n = (3, 4, 5)
    raw = np.empty(n)
    for index in np.ndindex(*n):
        t = [2 * (i + 1) / (m + 1) - 1 for i, m in zip(index, n, strict=True)]
        raw[index] = np.exp(-sum(1 / (1 - u * u) for u in t))
    scaled = 1 + (raw - raw.min()) / (raw.max() - raw.min()) * (1e6 - 1)
    assert np.allclose(patch_weights(Vec3(*n), "wu"), scaled / scaled.max(), rtol=1e-5)
