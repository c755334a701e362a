"""The plan, compared with counted lattices and with the measured memory of blending."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.blending import Batch, infer
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.identity import IdentityEngine
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.lattice import LatticeKind, PatchShape, make_lattice
from chunkflow_worker.inference.patching import Patching
from chunkflow_worker.inference.plan import (
    Memory,
    better_sizes,
    gigabytes,
    memory,
    plan_lines,
    price,
)
from chunkflow_worker.inference.weights import patch_weights

SHAPE = PatchShape(Vec3(20, 256, 256), Vec3(20, 256, 256), Vec3(4, 64, 64))
NONE = Vec3(0, 0, 0)


def test_price_of_a_box_counted_by_hand() -> None:
    """36x448x448 takes 2 patches per axis; with the overlap around it 3, and the last is moved."""
    size = Vec3(36, 448, 448)
    bare, rimmed = price("chunk", size, SHAPE, NONE), price("chunk", size, SHAPE, SHAPE.overlap)
    assert (bare.patches, rimmed.patches) == (8, 27)
    assert bare.utilization == pytest.approx(36 * 448 * 448 / (8 * 20 * 256 * 256))


@given(st.integers(1, 60), st.integers(2, 12), st.data())
def test_global_price_is_the_mean_over_a_grid(size: int, patch: int, data: st.DataObject) -> None:
    shape = PatchShape(*(Vec3(patch, 1, 1),) * 2, Vec3(data.draw(st.integers(0, patch - 1)), 0, 0))
    boxes = [BoundingBox.sized((i * size, 0, 0), (size, 1, 1)) for i in range(16)]
    counts = [make_lattice("global", box, shape).count for box in boxes]
    assert price("global", Vec3(size, 1, 1), shape, NONE).patches == pytest.approx(sum(counts) / 16)


@pytest.mark.parametrize("kind", ["chunk", "global"])
@pytest.mark.parametrize("margin", [NONE, SHAPE.overlap])
@pytest.mark.parametrize("unit", [Vec3(1, 1, 1), Vec3(32, 128, 128)])
def test_better_sizes_have_a_better_utilization(kind: str, margin: Vec3, unit: Vec3) -> None:
    size = Vec3(112, 1152, 1152)
    now, better = price(kind, size, SHAPE, margin), better_sizes(kind, size, SHAPE, margin, unit)
    assert 0 < len(better) <= 3
    assert len({other for other, _ in better}) == len(better)
    for other, cost in better:
        assert cost == price(kind, other, SHAPE, margin)
        assert cost.utilization > now.utilization
        assert 0.5 <= other.product / size.product <= 1.5
        assert other % unit == NONE


def test_a_size_that_whole_patches_fill_is_the_best_of_its_voxels() -> None:
    fitting = SHAPE.stride * 4 - SHAPE.overlap
    assert all(
        other.product > fitting.product
        for other, _ in better_sizes("chunk", fitting, SHAPE, SHAPE.overlap)
    )


def test_better_sizes_have_no_duplicates() -> None:
    """The size along one axis may already be one that whole patches fill."""
    size, shape = Vec3(32, 128, 128), PatchShape(*(Vec3(16, 64, 64),) * 2, Vec3(0, 16, 16))
    better = [other for other, _ in better_sizes("chunk", size, shape, NONE)]
    assert better
    assert len(set(better)) == len(better)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memory_is_what_blending_uses(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak that tracemalloc counts for numpy, without the image, which exists before."""
    # Each thread has scratch memory, which is small compared with real slabs.
    monkeypatch.setattr("chunkflow_worker.inference.host_arrays.cpu_count", lambda: 2)
    shape = PatchShape(*(Vec3(8, 64, 64),) * 2, Vec3(2, 16, 16))
    box = BoundingBox.sized((0, 0, 0), (44, 400, 400))
    lattice = make_lattice("chunk", box, shape, box, NONE)
    image = np.random.default_rng(0).integers(1, 255, (1, *box.size), np.uint8)
    engine = IdentityEngine(EngineSpec(shape.input, shape.output, channels=3))
    weights = patch_weights(shape.output).astype(np.float32)
    engine.arrays = HostArrays()  # tracemalloc does not count torch's memory
    stated = memory(lattice, 1, 3, "uint8", dtype, 3)
    assert stated.image == image.nbytes
    tracemalloc.start()
    try:
        infer(image, NONE, lattice, lambda position: weights, engine, Batch(1), dtype)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak == pytest.approx(stated.total - stated.image, rel=0.15)


@pytest.mark.parametrize("kind", ["chunk", "global"])
def test_the_lines_for_people(kind: LatticeKind) -> None:
    """4 x 4 x 4 patches fill a box of the size of a stride times 4, less the overlap, exactly."""
    size = SHAPE.stride * 4 - SHAPE.overlap
    needed = Memory(image=10**9, output=3 * 10**9, slabs=5 * 10**8, patch=10**7)
    patching = Patching(kind, SHAPE, SHAPE.overlap)
    chunk, global_, better, memory_ = plan_lines(patching, size, Vec3(1, 1, 1), needed, "uint8")
    used = {"chunk": "", "global": ""} | {kind: " (used here)"}
    assert chunk.startswith(f"chunk lattice{used['chunk']}: 64 patches per task, ")
    assert global_.startswith(f"global lattice{used['global']}: ")
    utilization = size.product / (64 * SHAPE.output.product)
    assert f"voxel utilization {utilization:.0%} (" in chunk
    sizes = better_sizes(kind, size, SHAPE, SHAPE.overlap)
    assert better == "nearby chunk sizes with a better utilization: " + ", ".join(
        f"{list(other)} {cost.utilization:.0%}" for other, cost in sizes
    )
    assert memory_ == (
        "memory of a task 4.51 GB: image 1.00 (uint8), output 3.00, slabs 0.50, patch 0.01; "
        "each further task in flight 3.00"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.00"), (400_000, "0.0004"), (4_560_000, "0.0046"),
     (21_000_000, "0.02"), (4_510_000_000, "4.51")],
)  # fmt: skip
def test_a_small_memory_has_more_digits(size: int, text: str) -> None:
    assert gigabytes(size) == text


def test_if_no_size_is_better_the_lines_say_none() -> None:
    one = Vec3(1, 1, 1)
    patching = Patching("chunk", PatchShape(one, one, NONE), NONE)
    lines = list(plan_lines(patching, Vec3(8, 8, 8), one, Memory(0, 0, 0, 0), "uint8"))
    assert "nearby chunk sizes with a better utilization: none" in lines
