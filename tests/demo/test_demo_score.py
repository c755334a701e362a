"""The scores of a few voxels, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from score import best_threshold, score

TRUTH = np.array([[[True, True, True, False, False]]])


def test_counts_by_hand():
    result = score(np.array([[[0.9, 0.6, 0.5, 0.7, 0.1]]], np.float32), TRUTH)
    assert result == {
        "f1": pytest.approx(4 / 6),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
    }


def test_nothing_found_scores_zero():
    assert score(np.zeros(TRUTH.shape, np.float32), TRUTH) == {"f1": 0, "precision": 0, "recall": 0}


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        score(np.zeros((1, 1, 4), np.float32), TRUTH)


def test_best_threshold_takes_the_darkest_voxels():
    grey, result = best_threshold(np.array([[[10, 20, 30, 31, 200]]], np.uint8), TRUTH)
    assert grey == 31
    assert result["f1"] == 1
