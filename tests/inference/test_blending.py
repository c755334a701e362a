"""`infer` with fake engines: batches, patches that are not run, and blended values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.conversion import convert
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.blending import Batch, Blended, infer
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.inference.lattice import LatticeKind, PatchShape, make_lattice
from chunkflow_worker.inference.reduction import Reduction
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.inference.weights import Weights, patch_weights

HOST, TORCH = HostArrays(), TorchArrays("cpu")
BOTH = pytest.mark.parametrize("arrays", [HOST, TORCH], ids=["numpy", "torch"])
SHAPE = PatchShape(Vec3(3, 6, 6), Vec3(3, 6, 6), Vec3(1, 2, 2))


class Fake(HostEngine):
    """Returns the patch plus a ramp, times the number of the channel, counted from 1.

    The ramp over the patch makes neighbouring patches disagree.

    fits: how many patches its memory holds.
    sizes: of the batches that it was asked to run.
    done: sizes of the batches that it ran.
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
    """The result for a box of the image, or for all of it. The image lies at the origin."""
    image = noise() if image is None else image
    bounds = BoundingBox.sized((0, 0, 0), image.shape[1:])
    lattice = make_lattice(kind, box or bounds, shape, bounds, Vec3(0, 0, 0))
    weights = Weights(shape.output, "wu", engine.arrays).on(lattice)
    given = image[(slice(None), *lattice.input_box.slices())]
    return infer(
        given, lattice.input_box.start, lattice, weights, engine, batch or Batch(), **options
    )


# --- batches ---


def test_the_batch_is_halved_when_memory_runs_out_and_stays_halved() -> None:
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
def test_batches_that_shrink_give_the_same_result(size: int, fits: int) -> None:
    engine, batch = Fake(fits=fits), Batch(size)
    result = blended(engine, batch=batch)
    assert np.array_equal(result.array, blended(Fake()).array)
    assert max(engine.done) <= fits
    assert sum(engine.done) == 48
    assert batch.size is not None
    assert 1 <= batch.size <= size


def test_too_little_memory_for_one_patch_is_an_error() -> None:
    engine, batch = Fake(fits=0), Batch(8)
    with pytest.raises(OutOfMemory, match="1 patches are too many"):
        blended(engine, batch=batch)
    assert engine.sizes == [8, 4, 2, 1]
    assert batch.size == 1


def test_a_batch_may_hold_patches_of_two_layers() -> None:
    """12 patches per layer are not a multiple of 5."""
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
def test_patches_that_are_not_run_do_not_delay_a_batch(size: int) -> None:
    """Every second column of the image is dark."""
    image = noise((3, 6, 60))
    image[..., 12:24] = image[..., 36:48] = 0
    shape = PatchShape(Vec3(3, 6, 6), Vec3(3, 6, 6), Vec3(0, 0, 0))
    engine = Fake()
    progress: list[int] = []
    result = blended(engine, image, Batch(size), shape=shape, progress=progress.append)
    assert (result.run, result.skipped) == (6, 4)
    assert engine.done == {1: [1] * 6, 2: [2] * 3, 5: [5, 1]}[size]
    assert progress == list(range(1, 11))
    dark = image[0] == 0
    assert not result.array[0][dark].any()
    assert result.array[0][~dark].all()


# --- patches that are not run ---


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_unwanted_patches_are_counted_and_give_zeros(arrays: Any, dtype: str) -> None:
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
        "voxels that only wanted patches cover are unchanged"
    )
    assert not result.array[..., :8].any()
    assert (result.array[..., 8:10] < whole.array[..., 8:10]).any(), (
        "wanted patches fade into the zeros"
    )


@BOTH
def test_no_patch_is_run_if_none_is_wanted(arrays: Any) -> None:
    engine = Fake(arrays)
    result = blended(engine, wanted=lambda patch: False)
    assert (result.run, result.skipped, engine.sizes) == (0, 48, [])
    assert not result.array.any()


def test_a_patch_of_nan_is_run() -> None:
    """It is not zero, and the NaN must not be hidden."""
    assert blended(Fake(), np.full((1, 3, 6, 6), np.nan, np.float32)).run == 1


# --- values ---

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
    """Slab by slab, for boxes of any size."""
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
def test_both_memories_give_the_same_output(
    size: Any, channels: int, dtype: str, kind: Any
) -> None:
    host, torch_ = (
        blended(Fake(arrays, channels=channels), noise(size), kind=kind, dtype=dtype)
        for arrays in (HOST, TORCH)
    )
    step = 1 if dtype == "uint8" else 5e-3 if dtype == "float16" else 5e-6
    assert np.abs(host.array.astype(float) - torch_.array.astype(float)).max() <= step


def plain_blend(
    image: np.ndarray, box: BoundingBox, kind: LatticeKind, shape: PatchShape
) -> np.ndarray:
    """Sum of weight x value over the sum of weights of all patches, in double precision."""
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
    """Also for overlaps of more than half a patch."""
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
def test_with_the_global_lattice_the_result_does_not_depend_on_the_cut(
    arrays: Any, z: int, y: int, x: int, dtype: str, batch: int
) -> None:
    """Neighbouring patches disagree, and some are dark.

    In numpy the values are exactly equal. torch adds rows as vectors, and rounds their ends
    differently.
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


# --- reductions ---


@BOTH
@pytest.mark.parametrize("text", ["threshold", "threshold:0.9", "argmax", "max"])
@pytest.mark.parametrize("box", [None, BoundingBox.sized((2, 3, 5), (4, 7, 9))])
def test_what_leaves_the_device_is_reduced(
    arrays: Arrays, text: str, box: BoundingBox | None
) -> None:
    """The result is that of the same operation on the whole result."""

    class Turned(Fake):
        """Each channel is the highest somewhere."""

        def _one(self, patch: np.ndarray) -> Any:
            whole = super()._one(patch)
            turned = np.roll(np.asarray(whole), 1, axis=3) * np.float32(0.3)
            turned[1] = 1 - turned[0]
            return turned if isinstance(self.arrays, HostArrays) else torch.from_numpy(turned)

    reduction = Reduction.parse(text)
    full = blended(Turned(arrays, channels=3, ramp=0.1), box=box).array
    expected = {
        "threshold": lambda: (full > reduction.threshold).astype(np.uint8),
        "argmax": lambda: full.argmax(axis=0, keepdims=True).astype(np.uint8),
        "max": lambda: convert(full.max(axis=0, keepdims=True), "uint8"),
    }[reduction.kind]()
    engine = Turned(arrays, channels=3, ramp=0.1)
    found = blended(engine, box=box, dtype="uint8", reduction=reduction)
    assert len(np.unique(expected)) > 1
    assert found.array.dtype == np.uint8
    assert np.array_equal(found.array, expected)


@BOTH
def test_only_the_highest_value_can_be_clipped(arrays: Arrays) -> None:
    clipped = {}
    for text in ("threshold:0.9", "argmax", "max"):
        engine = Fake(arrays, channels=2, ramp=3.0)
        reduction = Reduction.parse(text)
        clipped[text] = blended(engine, dtype="uint8", reduction=reduction).clipped
    full = blended(Fake(arrays, channels=2, ramp=3.0)).array
    assert clipped == {
        "threshold:0.9": 0, "argmax": 0, "max": np.count_nonzero(full.max(axis=0) > 1.0)
    }  # fmt: skip
