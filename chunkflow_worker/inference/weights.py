"""How much each voxel of a patch counts where patches overlap. Pure."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3

Bump = Literal["wu", "zung", "linear"]

# Far from the patch centre some bumps underflow; each voxel must keep some weight, or a voxel that only one patch covers
# would be divided by zero.
_LEAST = 1e-6


def patch_weights(size: Vec3, bump: Bump = "wu") -> NDArray[np.float64]:
    """Weights of an output patch, shape zyx, in (0, 1], symmetric, largest in the middle.

    The blended value is the sum of weight x value over all patches at a voxel, divided by the sum of their weights: so
    the weights that count sum to one everywhere, whatever the overlap.

    wu: exp(-sum 1/(1-t^2)) with t = 2(i+1)/(n+1) - 1 on each axis, then rescaled linearly to a range of 1 to 1e6; the
        function of chunkflow's ``--bump wu``.
    zung: exp(-sum (u(1-u))^-1.5) with u = (i+1)/(n+1).
    linear: product of tents, min(i+1, n-i) on each axis.
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
    return [np.arange(1, n + 1) / (n + 1) for n in size]


def _outer(axes: list[NDArray[np.float64]], combine: Any) -> NDArray[np.float64]:
    z, y, x = axes
    result: NDArray[np.float64] = combine(
        combine(z[:, None, None], y[None, :, None]), x[None, None, :]
    )
    return result


def _exp(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(logits - logits.max())
    return result
