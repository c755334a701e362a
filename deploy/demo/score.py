"""Scores of a probability map against the true membranes, voxel by voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Score = dict[str, float]


def score(
    probability: NDArray[np.floating], truth: NDArray[np.bool_], threshold: float = 0.5
) -> Score:
    """Return F1, precision and recall (0 to 1) of the voxels above `threshold`.

    Both arrays are zyx. Raises ValueError if their shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"probability has shape {probability.shape}, truth {truth.shape}")
    found = probability > threshold
    return _score(int((found & truth).sum()), int(found.sum()), int(truth.sum()))


def best_threshold(image: NDArray[np.uint8], truth: NDArray[np.bool_]) -> tuple[int, Score]:
    """Return the grey value with the highest F1, if all darker voxels are membrane; and its scores.

    This is the best result without a net.
    """
    found = np.cumsum(np.bincount(image.ravel(), minlength=256))
    right = np.cumsum(np.bincount(image[truth], minlength=256))
    scores = [_score(int(r), int(f), int(right[-1])) for r, f in zip(right, found, strict=True)]
    best = max(range(256), key=lambda grey: scores[grey]["f1"])
    return best + 1, scores[best]


def _score(right: int, found: int, true: int) -> Score:
    return {
        "f1": 2 * right / max(1, found + true),
        "precision": right / max(1, found),
        "recall": right / max(1, true),
    }
