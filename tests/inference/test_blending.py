"""Patches through fake engines: batches, memory, counts, and the arithmetic of both kinds of memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of

from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import convert
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.blending import Batch, Blended, infer
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.inference.lattice import LatticeKind, PatchShape, make_lattice
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.inference.weights import patch_weights

HOST, TORCH = HostArrays(), TorchArrays("cpu")
BOTH = pytest.mark.parametrize("arrays", [HOST, TORCH], ids=["numpy", "torch"])
SHAPE = PatchShape(Vec3(3, 6, 6), Vec3(3, 6, 6), Vec3(1, 2, 2))


class Fake(HostEngine):
    """Returns the patch plus a ramp over the patch, so that neighbours disagree, times each channel's number, from 1 on.

    fits: how many patches its memory holds. sizes: of the batches it was asked for. done: of those that it ran.
    """

    def __init__(
        self,
        arrays: Arrays = HOST,
        fits: int = 99,
        channels: int = 1,
        ramp: float = 1.0,
        batch: int = 1,
    ):
        super().__init__(channels)
        self.arrays, self.fits, self.ramp, self.batch = arrays, fits, ramp, batch
        self.sizes: list[int] = []
        self.done: list[int] = []

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        self.asked = input_shape
        return self.batch

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        self.sizes.append(len(patches))
        if len(patches) > self.fits:
            raise OutOfMemory(f"{len(patches)} patches are too many")
        self.done.append(len(patches))
        return [self._one(np.asarray(patch)) for patch in patches]

    def _one(self, patch: np.ndarray) -> Any:
        ramp = np.linspace(0, self.ramp, patch.size, dtype=np.float32).reshape(patch.shape)
        output = (patch + ramp) * np.arange(1, self.channels + 1, dtype=np.float32).reshape(
            -1, 1, 1, 1
        )
        return output if isinstance(self.arrays, HostArrays) else torch.from_numpy(output)


def noise(size: Sequence[int] = (9, 14, 18)) -> np.ndarray:
    return np.random.default_rng(0).random((1, *size), np.float32) + np.float32(0.01)


def blended(
    engine: Any,
    image: np.ndarray | None = None,
    batch: Batch | None = None,
    box: BoundingBox | None = None,
    shape: PatchShape = SHAPE,
    kind: LatticeKind = "chunk",
    **options: Any,
) -> Blended:
    """Of the whole image, which lies at the origin, or of a box in it."""
    image = noise() if image is None else image
    bounds = BoundingBox.sized((0, 0, 0), image.shape[1:])
    lattice = make_lattice(kind, box or bounds, shape, bounds, Vec3(0, 0, 0))
    weights = engine.arrays.put(patch_weights(shape.output).astype(np.float32))
    given = image[(slice(None), *lattice.input_box.slices())]
    return infer(
        given, lattice.input_box.start, lattice, weights, engine, batch or Batch(), **options
    )


# --- batches ---


def test_after_want_of_memory_the_batch_is_halved_and_stays_so() -> None:
    """4 x 3 x 4 = 48 patches; 2 fit."""
    engine, batch = Fake(fits=2), Batch(8)
    result = blended(engine, batch=batch)
    assert engine.sizes[:3] == [8, 4, 2]
    assert set(engine.sizes[2:]) == {2}
    assert sum(engine.done) == result.run == 48
    assert batch.size == 2
    assert np.array_equal(result.array, blended(Fake()).array), (
        "no patch is lost, doubled or out of order"
    )
    again = Fake(fits=2)
    blended(again, batch=batch)
    assert set(again.sizes) == {2}


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 7, 48])
@pytest.mark.parametrize("size", [1, 3, 8, 13, 100])
def test_any_batch_that_shrinks_gives_the_same(size: int, fits: int) -> None:
    engine, batch = Fake(fits=fits), Batch(size)
    result = blended(engine, batch=batch)
    assert np.array_equal(result.array, blended(Fake()).array)
    assert max(engine.done) <= fits
    assert sum(engine.done) == 48
    assert batch.size is not None
    assert 1 <= batch.size <= size


def test_want_of_memory_for_one_patch_is_raised() -> None:
    engine, batch = Fake(fits=0), Batch(8)
    with pytest.raises(OutOfMemory, match="1 patches are too many"):
        blended(engine, batch=batch)
    assert engine.sizes == [8, 4, 2, 1]
    assert batch.size == 1


def test_batches_reach_over_layers_of_patches() -> None:
    """12 patches a layer are no multiple of 5."""
    engine = Fake()
    result = blended(engine, batch=Batch(5))
    assert engine.done == [5] * 9 + [3]
    assert np.array_equal(result.array, blended(Fake()).array)


def test_the_engine_chooses_the_batch_once() -> None:
    engine, batch = Fake(batch=7), Batch()
    blended(engine, batch=batch)
    assert (batch.size, engine.asked, engine.done[0]) == (7, (1, 3, 6, 6), 7)
    engine.batch = 3
    blended(engine, batch=batch)
    assert batch.size == 7


@pytest.mark.parametrize("size", [1, 2, 5])
def test_patches_that_are_not_run_do_not_hold_up_a_batch(size: int) -> None:
    """Every second column of the image is dark."""
    image = noise((3, 6, 60))
    image[..., 12:24] = image[..., 36:48] = 0
    shape = PatchShape(Vec3(3, 6, 6), Vec3(3, 6, 6), Vec3(0, 0, 0))
    engine = Fake()
    told: list[int] = []
    result = blended(engine, image, Batch(size), shape=shape, progress=told.append)
    assert (result.run, result.skipped) == (6, 4)
    assert engine.done == {1: [1] * 6, 2: [2] * 3, 5: [5, 1]}[size]
    assert told == list(range(1, 11))
    dark = image[0] == 0
    assert not result.array[0][dark].any()
    assert result.array[0][~dark].all()


# --- what is not run ---


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_patches_that_nobody_wants_are_counted_and_give_zeros(arrays: Any, dtype: str) -> None:
    seen: list[BoundingBox] = []

    def wanted(patch: BoundingBox) -> bool:
        seen.append(patch)
        return patch.start.x >= 8

    engine = Fake(arrays, ramp=0)
    result = blended(engine, wanted=wanted, dtype=dtype)
    whole = blended(Fake(arrays, ramp=0), dtype=dtype)
    assert len(seen) == 48
    assert all(patch.size == SHAPE.output for patch in seen)
    assert (result.run, result.skipped) == (24, 24)
    assert sum(engine.done) == 24
    assert np.array_equal(result.array[..., 10:], whole.array[..., 10:]), (
        "what only wanted patches cover is as it was"
    )
    assert not result.array[..., :8].any()
    assert (result.array[..., 8:10] < whole.array[..., 8:10]).any(), "where they meet, it fades"


@BOTH
def test_when_nothing_is_wanted_nothing_is_run(arrays: Any) -> None:
    engine = Fake(arrays)
    result = blended(engine, wanted=lambda patch: False)
    assert (result.run, result.skipped, engine.sizes) == (0, 48, [])
    assert not result.array.any()


def test_a_patch_of_nothing_but_nan_is_run() -> None:
    """It is not zero, and whoever made it should see it."""
    assert blended(Fake(), np.full((1, 3, 6, 6), np.nan, np.float32)).run == 1


# --- arithmetic ---

SPECIAL = st.sampled_from(
    [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1.0,
        0.5,
        1.5 / 255,
        2.5 / 255,
        65504.0,
        65519.0,
        65520.0,
        1e38,
        -1e38,
        1e-8,
    ]
)
VALUES = st.one_of(st.floats(-2, 2, width=32), st.floats(width=32), SPECIAL)


@BOTH
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@settings(max_examples=60)
@given(data=st.data())
def test_sending_converts_as_chunks_do(arrays: Any, dtype: str, data: st.DataObject) -> None:
    """Saturating, to the nearest even, NaN to zero."""
    shape = tuple(data.draw(st.integers(1, 4)) for _ in range(4))
    slab = data.draw(arrays_of(np.float32, shape, elements=VALUES))
    out = np.full(shape, 99, dtype)
    expected = convert(slab, dtype)
    given_slab = arrays.put(slab.copy())
    arrived = arrays.send(given_slab, out)
    given_slab[:] = 7  # it may change at once
    arrived()
    assert np.array_equal(out, expected, equal_nan=dtype != "uint8")


@BOTH
def test_sending_fills_a_part_of_the_result(arrays: Any) -> None:
    result = np.zeros((2, 8, 4, 5), np.uint8)
    slab = arrays.put(np.random.default_rng(0).random((2, 3, 4, 5), np.float32))
    arrays.send(slab[:, 1:3], result[:, 2:4])()
    assert np.array_equal(result[:, 2:4], convert(np.asarray(slab)[:, 1:3], np.uint8))
    assert not result[:, :2].any()
    assert not result[:, 4:].any()


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 40), st.integers(1, 6), st.integers(0, 999)
)
def test_both_memories_blend_alike(
    channels: int, height: int, width: int, patches: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (height, 5, width)
    means, totals = [], []
    steps = [
        (
            rng.normal(size=(channels, *shape)).astype(np.float32) if rng.random() < 0.8 else None,
            rng.random(shape, np.float32) + 1e-6,
        )
        for _ in range(patches)
    ]
    for arrays in (HOST, TORCH):
        mean, total = arrays.zeros((channels, *shape)), arrays.zeros(shape)
        for values, weights in steps:
            arrays.blend(
                mean, total, None if values is None else arrays.put(values), arrays.put(weights)
            )
        means.append(np.asarray(mean))
        totals.append(np.asarray(total))
    assert np.array_equal(*totals)
    assert np.abs(means[0] - means[1]).max() < 2e-6
    zeros = np.zeros((channels, *shape), np.float32)
    expected = sum((zeros if v is None else v).astype(float) * w for v, w in steps) / sum(
        w.astype(float) for _, w in steps
    )
    assert np.abs(means[0] - expected).max() < 5e-6


@BOTH
@settings(max_examples=40)
@given(data=st.data())
def test_patches_that_agree_keep_their_value_to_the_last_bit(
    arrays: Any, data: st.DataObject
) -> None:
    shape = (2, 2, 3, data.draw(st.integers(1, 20)))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(arrays_of(np.float32, shape, elements=finite))
    weights = [
        data.draw(arrays_of(np.float32, shape[1:], elements=st.floats(2**-20, 1, width=32)))
        for _ in range(3)
    ]
    mean, total = arrays.zeros(shape), arrays.zeros(shape[1:])
    arrays.place(arrays.put(values.copy()), mean)
    total[:] = arrays.put(weights[0])
    for weight in weights[1:]:
        arrays.blend(mean, total, arrays.put(values.copy()), arrays.put(weight))
    assert np.array_equal(np.asarray(mean), values)


@BOTH
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_is_not_finite_stays_where_it_is(arrays: Any) -> None:
    """A patch's NaN spoils its own voxel, and what others say of others stays."""
    shape = (1, 1, 1, 4)
    mean, total, weights = (
        arrays.zeros(shape),
        arrays.zeros(shape[1:]),
        arrays.put(np.ones(shape[1:], np.float32)),
    )
    first = np.array([1, np.nan, 3, np.inf], np.float32).reshape(shape)
    second = np.array([3, 1, np.nan, 1], np.float32).reshape(shape)
    total[:] = weights
    arrays.place(arrays.put(first), mean)
    arrays.blend(mean, total, arrays.put(second), weights)
    found = np.asarray(mean).ravel()
    assert found[0] == 2
    assert not np.isfinite(found[1:]).any()


@BOTH
def test_float32_results_are_blended_where_they_lie(arrays: Any) -> None:
    result = np.zeros((1, 2, 3, 4), np.float32)
    shared = arrays.share(result)
    shared[:] = 3
    assert (result == 3).all()
    assert arrays.share(np.zeros((1, 2, 3, 4), np.uint8)) is None


SIZES = st.tuples(st.integers(3, 12), st.integers(6, 17), st.integers(6, 19))


@BOTH
@settings(max_examples=25)
@given(
    SIZES,
    st.integers(1, 3),
    st.sampled_from(["uint8", "float16"]),
    st.sampled_from(["chunk", "global"]),
    st.integers(1, 4),
)
def test_a_converted_output_is_the_float32_output_converted(
    arrays: Any, size: Any, channels: int, dtype: str, kind: Any, batch: int
) -> None:
    """Slab by slab, whatever fits into the box."""
    image = noise(size)
    image[..., size[2] // 2 :] = 0
    exact = blended(Fake(arrays, channels=channels), image, Batch(batch), kind=kind)
    found = blended(Fake(arrays, channels=channels), image, Batch(batch), kind=kind, dtype=dtype)
    assert found.array.dtype == dtype
    assert np.array_equal(found.array, convert(exact.array, dtype))
    assert (found.run, found.skipped) == (exact.run, exact.skipped)


@settings(max_examples=25)
@given(
    SIZES,
    st.integers(1, 3),
    st.sampled_from(["uint8", "float16", "float32"]),
    st.sampled_from(["chunk", "global"]),
)
def test_both_memories_give_one_output(size: Any, channels: int, dtype: str, kind: Any) -> None:
    host, torch_ = (
        blended(Fake(arrays, channels=channels), noise(size), kind=kind, dtype=dtype)
        for arrays in (HOST, TORCH)
    )
    step = 1 if dtype == "uint8" else 5e-3 if dtype == "float16" else 5e-6
    assert np.abs(host.array.astype(float) - torch_.array.astype(float)).max() <= step


def plain_blend(
    image: np.ndarray, box: BoundingBox, kind: LatticeKind, shape: PatchShape
) -> np.ndarray:
    """Sum of weight x value over the sum of weights, in double precision, of all patches at once."""
    bounds = BoundingBox.sized((0, 0, 0), image.shape[1:])
    lattice = make_lattice(kind, box, shape, bounds, Vec3(0, 0, 0))
    total, weight_sum = np.zeros(image.shape[1:]), np.zeros(image.shape[1:])
    weights, engine = patch_weights(shape.output), Fake()
    for position in lattice.patches():
        window = BoundingBox.sized(position, shape.output).slices()
        total[window] += weights * engine._one(image[(slice(None), *window)])[0]
        weight_sum[window] += weights
    return (total / np.maximum(weight_sum, 1e-30))[box.slices()]


@BOTH
@settings(max_examples=30)
@given(data=st.data())
def test_the_output_is_the_weighted_mean_of_all_patches(arrays: Any, data: st.DataObject) -> None:
    """Overlaps beyond half included."""
    numbers = lambda low, high: Vec3(*(data.draw(st.integers(low, high)) for _ in range(3)))  # noqa: E731
    output = numbers(1, 5)
    shape = PatchShape(output, output, Vec3(*(data.draw(st.integers(0, n - 1)) for n in output)))
    size, kind = output + numbers(0, 8), data.draw(st.sampled_from(["chunk", "global"]))
    low = Vec3(*(data.draw(st.integers(0, n - 1)) for n in size))
    high = Vec3(*(data.draw(st.integers(a + 1, n)) for a, n in zip(low, size, strict=True)))
    box, image = BoundingBox(low, high), noise(size)
    found = blended(Fake(arrays), image, box=box, shape=shape, kind=kind).array[0]
    assert np.abs(found - plain_blend(image, box, kind, shape)).max() < 1e-5


# --- the global lattice ---


@BOTH
@settings(max_examples=10)
@given(
    st.integers(2, 8),
    st.integers(3, 13),
    st.integers(3, 17),
    st.sampled_from(["uint8", "float32"]),
    st.integers(1, 5),
)
def test_with_the_global_lattice_the_cut_does_not_show(
    arrays: Any, z: int, y: int, x: int, dtype: str, batch: int
) -> None:
    """Neighbouring patches disagree, and some are dark. In numpy equal to the last bit; torch sums rows in vectors, whose
    ends are rounded otherwise.
    """
    image = noise()
    image[:, :4, :9, :9] = 0
    whole = blended(Fake(arrays), image, Batch(3), kind="global", dtype=dtype).array
    for box in BoundingBox.sized((0, 0, 0), image.shape[1:]).split(Vec3(z, y, x)):
        part = blended(Fake(arrays), image, Batch(batch), box=box, kind="global", dtype=dtype).array
        there = whole[(slice(None), *box.slices())]
        if arrays is HOST:
            assert np.array_equal(part, there)
        else:
            assert np.abs(part.astype(float) - there.astype(float)).max() <= (
                1 if dtype == "uint8" else 1e-6
            )
