"""The weights of a patch's voxels, for each bump, against their formulas in higher precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.blending import Batch, infer
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.inference.lattice import PatchShape, make_lattice
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.inference.weights import Weights, patch_weights, shares_along, zung_logarithms

ARRAYS = [HostArrays(), TorchArrays("cpu")]
BOTH = pytest.mark.parametrize("arrays", ARRAYS, ids=["numpy", "torch"])
FINE = np.longdouble  # reaches exp(-11355), where double ends at exp(-745)


@pytest.mark.parametrize("bump", ["wu", "zung", "linear"])
@pytest.mark.parametrize("size", [Vec3(1, 1, 1), Vec3(5, 8, 9), Vec3(20, 64, 64), Vec3(2, 256, 3)])
def test_weights_are_symmetric_and_highest_in_the_middle(bump: Any, size: Vec3) -> None:
    weights = patch_weights(size, bump)
    assert weights.shape == size
    assert weights.min() >= 0
    assert weights.min() > 0 or bump == "zung"
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


@pytest.mark.parametrize("size", [Vec3(1, 2, 3), Vec3(20, 30, 40), Vec3(64, 512, 512)])
def test_linear_is_the_documented_function(size: Vec3) -> None:
    """Also at the corner of a large patch, where the weight is 5e-7."""
    corner = patch_weights(size, "linear")[:1, :2, :3]
    tents = [np.arange(1, n + 1, dtype=float).clip(max=np.arange(n, 0, -1)) for n in size]
    z, y, x = (tent / tent.max() for tent in tents)
    expected = z[:1, None, None] * y[None, :2, None] * x[None, None, :3]
    assert np.allclose(corner, expected, rtol=1e-12, atol=0)


def zung(size: Vec3) -> np.ndarray:
    """The formula, exp(-sum (u(1-u))^-1.5), relative to its largest value."""
    axes = [np.arange(1, n + 1, dtype=FINE) / FINE(n + 1) for n in size]
    z, y, x = (-((u * (1 - u)) ** FINE(-1.5)) for u in axes)
    logarithms = z[:, None, None] + y[None, :, None] + x[None, None, :]
    return np.exp(logarithms - logarithms.max())


@pytest.mark.parametrize("size", [Vec3(1, 1, 1), Vec3(3, 4, 5), Vec3(20, 128, 128)])
def test_zung_is_the_documented_function(size: Vec3) -> None:
    """As far as double precision reaches."""
    found, expected = patch_weights(size, "zung"), zung(size)
    reached = expected > 1e-300
    assert np.allclose(found[reached], expected[reached].astype(float), rtol=1e-10, atol=0)
    assert np.all(found[~reached] < 1e-299)


@BOTH
@pytest.mark.parametrize(
    ("size", "overlap"),
    [
        (Vec3(20, 128, 128), Vec3(4, 32, 32)),
        (Vec3(8, 16, 16), Vec3(0, 8, 15)),
        (Vec3(1, 64, 5), Vec3(0, 21, 4)),
    ],
)
def test_shares_of_zung_are_those_of_the_formula(arrays: Arrays, size: Vec3, overlap: Vec3) -> None:
    """For the first patches of a lattice, at every voxel of a box that they cover alone."""
    lattice = make_lattice(
        "chunk",
        BoundingBox.sized((0, 0, 0), size * 2 - overlap),
        PatchShape(size, size, overlap),
        margin=Vec3(0, 0, 0),
    )
    weights = Weights(size, "zung", arrays).on(lattice)
    total = np.zeros(lattice.box.size, FINE)
    formula = zung(size)
    for position in lattice.patches():
        total[BoundingBox.sized(position, size).slices()] += formula
    for position in lattice.patches():
        expected = formula / total[BoundingBox.sized(position, size).slices()]
        found = np.asarray(weights(position))
        assert found.dtype == np.float32
        assert np.abs(found - expected.astype(float)).max() < 1e-6


@given(st.integers(1, 400), st.data())
def test_shares_along_an_axis_sum_to_one_and_are_never_zero(n: int, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(1, n), max_size=6))
    starts = tuple(int(s) for s in np.cumsum([-7, *steps]))
    shares = shares_along(starts, zung_logarithms(n))
    total = np.zeros(starts[-1] - starts[0] + n)
    for start, values in shares.items():
        assert values.min() > 0
        total[start - starts[0] : start - starts[0] + n] += values
    assert np.allclose(total, 1, atol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 4096, 100_000])
def test_shares_of_extreme_patches_are_finite(n: int) -> None:
    (alone,) = shares_along((5,), zung_logarithms(n)).values()
    assert np.array_equal(alone, np.ones(n))
    first, second = shares_along((0, max(1, n // 2)), zung_logarithms(n)).values()
    assert np.isfinite([first, second]).all()
    assert float(first.astype(np.float32).min()) ** 3 > np.finfo(np.float32).tiny


class Convolution(HostEngine):
    """A convolution that sees zeros beyond its patch, so that the rim of a patch is wrong."""

    def __init__(self, arrays: Arrays):
        super().__init__(1)
        self.arrays = arrays
        torch.manual_seed(0)
        self.net = torch.nn.Conv3d(1, 1, 3, padding=1).requires_grad_(False)

    def predict(self, patches: Any) -> Any:
        outputs = self.net(torch.stack([torch.as_tensor(patch) for patch in patches]))
        return list(outputs if isinstance(self.arrays, TorchArrays) else outputs.numpy())


@BOTH
@pytest.mark.parametrize(
    ("size", "overlap", "most"),
    [
        (Vec3(20, 128, 128), Vec3(4, 32, 32), 1e-6),
        (Vec3(12, 48, 64), Vec3(6, 24, 32), 1e-6),
        (Vec3(8, 32, 32), Vec3(4, 8, 16), 1e-4),
    ],
)
def test_zung_blends_patches_into_one_convolution_of_the_image(
    arrays: Arrays, size: Vec3, overlap: Vec3, most: float
) -> None:
    """Its weights vanish at the rim, where patches are wrong, if another patch is right there."""
    engine = Convolution(arrays)
    image = np.random.default_rng(0).random((1, *(size * 2 - overlap)), np.float32)
    box = BoundingBox.sized((0, 0, 0), image.shape[1:])
    lattice = make_lattice("chunk", box, PatchShape(size, size, overlap), box, Vec3(0, 0, 0))
    weights = Weights(size, "zung", arrays).on(lattice)
    found = infer(image, box.start, lattice, weights, engine, Batch(1)).array
    expected = engine.net(torch.from_numpy(image)[None])[0].numpy()
    assert np.abs(found - expected).max() < most


@BOTH
@pytest.mark.parametrize("bump", ["wu", "linear"])
def test_other_bumps_have_the_same_weights_everywhere(arrays: Arrays, bump: Any) -> None:
    size = Vec3(3, 6, 6)
    box = BoundingBox.sized((0, 0, 0), (6, 12, 12))
    lattice = make_lattice("chunk", box, PatchShape(size, size, Vec3(1, 2, 2)), box)
    weights = Weights(size, bump, arrays).on(lattice)
    for position in lattice.patches():
        assert np.allclose(np.asarray(weights(position)), patch_weights(size, bump), rtol=1e-6)
