"""`patch_weights`: how much each voxel of a patch counts where patches overlap. Pure."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3

Bump = Literal["wu", "zung", "linear"]

# Some bumps underflow to zero far from the centre of the patch. A voxel that only one patch covers
# would then be divided by zero.
_LEAST = 1e-6


def patch_weights(size: Vec3, bump: Bump = "wu") -> NDArray[np.float64]:
    """Weights of an output patch, shape zyx, in (0, 1], symmetric, largest in the middle.

    A blended value is the sum of weight x value over all patches at a voxel, divided by the sum of
    their weights. So the shares of all patches sum to one everywhere, for any overlap.

    bump: the function of the voxel's position i on an axis of n voxels.
        wu: exp(-sum 1/(1-t^2)) with t = 2(i+1)/(n+1) - 1, then rescaled linearly to a range of 1
            to 1e6. This is ``--bump wu`` of chunkflow.
        zung: exp(-sum (u(1-u))^-1.5) with u = (i+1)/(n+1).
        linear: the product of min(i+1, n-i).
    """
    if bump == "linear":
        tents = [np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / ((n + 1) / 2) for n in size]
        weights = _outer(tents, np.multiply)
    elif bump == "zung":
        weights = _exp(_outer([-((u * (1 - u)) ** -1.5) for u in _unit(size)], np.add))
    else:
        weights = _exp(_outer([-1 / (1 - (2 * u - 1) ** 2) for u in _unit(size)], np.add))
        low, high = float(weights.min()), float(weights.max())
        weights = (
            (weights - low) / (high - low) * (1 - 1e-6) + 1e-6
            if high > low
            else np.ones_like(weights)
        )
    result: NDArray[np.float64] = np.maximum(weights / weights.max(), _LEAST)
    return result


def _unit(size: Vec3) -> list[NDArray[np.float64]]:
    """Positions of the voxels on each axis, evenly spaced between 0 and 1, both excluded."""
    return [np.arange(1, n + 1) / (n + 1) for n in size]


def _outer(axes: list[NDArray[np.float64]], combine: Any) -> NDArray[np.float64]:
    """Combine one value per axis into an array zyx."""
    z, y, x = axes
    result: NDArray[np.float64] = combine(
        combine(z[:, None, None], y[None, :, None]), x[None, None, :]
    )
    return result


def _exp(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exponential, scaled to a largest value of 1 so that it cannot overflow."""
    result: NDArray[np.float64] = np.exp(logits - logits.max())
    return result
