from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.points import Points


@pytest.mark.parametrize("dtype", ["int32", "uint64", "float32"])
def test_points_are_rows_of_three_numbers(dtype: str) -> None:
    points = Points(np.zeros((5, 3), dtype), (40.0, 8.0, 4.0))
    assert len(points) == 5
    assert len(Points(np.zeros((0, 3), dtype))) == 0


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(3), r"not float64 of shape \(3,\)"),
        (np.zeros((5, 2), np.int32), r"not int32 of shape \(5, 2\)"),
        (np.zeros((1, 5, 3)), r"not float64 of shape \(1, 5, 3\)"),
        (np.zeros((5, 3), bool), r"not bool of shape \(5, 3\)"),
        (np.zeros((5, 3), complex), "not complex128"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, text: str) -> None:
    with pytest.raises(ChunkMismatch, match=rf"points are numbers of shape \(n, 3\), {text}"):
        Points(array)
