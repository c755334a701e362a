from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.multiply import Multiply


@pytest.mark.parametrize(
    ("dtype", "times"),
    [("uint8", "uint8"), ("int16", "float32"), ("uint16", "float64"), ("uint8", "bool")],
)
def test_integers_are_rounded_and_saturate(run_step, dtype: str, times: str) -> None:
    rng = np.random.default_rng(0)
    array = (rng.random((3, 4, 5, 6)) * 99).astype(dtype)
    factor = (rng.random((4, 5, 6)) * 9).astype(times)
    task = run_step(Multiply(multiplier_name="by"), chunk=Chunk(array), by=Chunk(factor))
    made = task.chunk("chunk").array
    top = np.iinfo(dtype).max
    for place in np.ndindex(array.shape):
        assert made[place] == min(round(int(array[place]) * float(factor[place[1:]])), top)
    assert made.dtype == dtype


def test_a_mask_keeps_ids_of_64_bits_exactly(run_step) -> None:
    ids = np.full((1, 1, 2), 2**63 + 1025, np.uint64)
    mask = np.array([[[1, 0]]], np.uint8)
    task = run_step(
        Multiply(multiplier_name="by", output_names="kept"), chunk=Chunk(ids), by=Chunk(mask)
    )
    assert task.chunk("kept").array.tolist() == [[[2**63 + 1025, 0]]]
    assert task.chunk("chunk").array is ids


def test_infinite_and_nan_factors_of_integers(run_step) -> None:
    factor = Chunk(np.array([[[np.inf, -np.inf, np.nan]]]))
    ones = Chunk(np.ones((1, 1, 3), np.int8))
    made = run_step(Multiply(multiplier_name="by"), chunk=ones, by=factor).chunk("chunk")
    assert made.array.tolist() == [[[127, -128, 0]]]


@pytest.mark.parametrize("times", ["uint8", "bool", "float32"])
def test_a_boolean_mask_times_another_mask(run_step, times: str) -> None:
    masks = np.array([[[True, True, False, False]]]), np.array([[[1, 0, 1, 0]]], times)
    task = run_step(Multiply(multiplier_name="by"), chunk=Chunk(masks[0]), by=Chunk(masks[1]))
    made = task.chunk("chunk").array
    assert made.dtype == bool
    assert made.tolist() == [[[True, False, False, False]]]


def test_several_float_chunks(run_step) -> None:
    a, b = (Chunk(np.full((2, 2, 2), v, np.float32)) for v in (0.5, 3))
    task = run_step(Multiply(input_names="a,b", multiplier_name="b", output_names="c,d"), a=a, b=b)
    assert (task.chunk("c").array == 1.5).all()
    assert (task.chunk("d").array == 9).all()
    assert task.chunk("d").dtype == np.float32


def test_chunks_that_do_not_match_are_refused(run_step) -> None:
    chunk = Chunk(np.ones((2, 2, 2)))
    with pytest.raises(ChunkflowError, match="same box"):
        run_step(
            Multiply(multiplier_name="by"), chunk=chunk, by=Chunk(np.ones((2, 2, 2)), Vec3(0, 0, 1))
        )
    with pytest.raises(ChunkflowError, match="give equally many"):
        run_step(Multiply(multiplier_name="by", output_names="a,b"), chunk=chunk, by=chunk)
