"""Images cut into boxes, or masked: the output of a voxel must not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.inference.lattice import PatchShape, make_lattice
from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

MakeVolume = Callable[..., PrecomputedVolume]
VOXEL = (40.0, 8.0, 8.0)
CONVOLUTIONS = """
import torch
from torch import nn
torch.manual_seed(0)
InstantiatedModel = nn.Sequential(
    nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ELU(),
    nn.Conv3d(4, 2, 3, padding=1), nn.Sigmoid(),
)
"""


def inference(**options: Any) -> Inference:
    defaults = {
        "framework": "identity",
        "input_patch_size": (4, 8, 8),
        "output_patch_overlap": (1, 2, 2),
        "num_output_channels": 1,
        "mask_output_chunk": True,
    }
    return Inference(**(defaults | options))


def run(operator: Inference, image: Chunk, boxes: list[BoundingBox]) -> tuple[list[Chunk], Task]:
    """Outputs for these boxes, each from the part of the image that it needs, and the last task."""
    results, task = [], Task()
    with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
        for box in boxes:
            whole = image.with_array(image.array, bounds=image.bbox)
            part = whole.cutout(operator.input_box(box, image.bbox))
            task = Task(bbox=box, values={"chunk": part})
            step(task)
            results.append(task.chunk("chunk"))
    return results, task


def floats(size: tuple[int, int, int], offset: tuple[int, int, int] = (0, 0, 0)) -> Chunk:
    array = np.random.default_rng(6).normal(size=size).astype(np.float32) * 1e3
    return Chunk(array, Vec3(*offset), VOXEL)


def pieces(image: Chunk, size: Vec3) -> list[BoundingBox]:
    return list(image.bbox.split(size))


@settings(max_examples=6)
@given(
    st.integers(3, 9),
    st.integers(3, 18),
    st.integers(3, 20),
    st.integers(-9, 9),
    st.sampled_from([1, 2, 5]),
)
def test_identity_of_floats_is_exactly_the_image_for_every_cut(
    z: int, y: int, x: int, at: int, batch: int
) -> None:
    image = floats((9, 18, 20), (at, -at, 3 * at))
    for lattice in ("global", "chunk"):
        operator = inference(lattice=lattice, batch_size=batch)
        for part in run(operator, image, pieces(image, Vec3(z, y, x)))[0]:
            assert np.array_equal(part.array[0], image.cutout(part.bbox).array)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(4, 9), st.integers(7, 18), st.integers(7, 20), st.integers(1, 4), st.integers(-5, 5)
)
def test_a_net_gives_the_same_bytes_for_every_cut(
    tmp_path_factory: Any, precision: str, z: int, y: int, x: int, batch: int, at: int
) -> None:
    """Values may differ by one, because sums inside the net may depend on the batch."""
    model = tmp_path_factory.mktemp("net") / "net.py"
    model.write_text(CONVOLUTIONS)
    image = Chunk(
        np.random.default_rng(1).integers(0, 255, (9, 18, 20), np.uint8),
        Vec3(at, 2 * at, -at),
        VOXEL,
    )
    image.array[:, :7, 9:] = 0
    options = {
        "framework": "pytorch",
        "convnet_model": str(model),
        "precision": precision,
        "num_output_channels": 2,
    }
    operator = inference(**options, lattice="global", dtype="uint8", batch_size=batch)
    whole = run(inference(**options, lattice="global", dtype="uint8"), image, [image.bbox])[0][0]
    assert len(np.unique(whole.array)) > 20
    for part in run(operator, image, pieces(image, Vec3(z, y, x)))[0]:
        assert part.dtype == np.uint8
        there = whole.cutout(part.bbox).array
        assert np.abs(part.array.astype(int) - there).max() <= 1


# --- masks ---


@pytest.fixture
def mask(volume: MakeVolume) -> Callable[..., str]:
    """Create a mask with voxels of 1 x 4 x 4 image voxels, set in `lit`. Returns its path."""

    def make(lit: tuple[slice, slice, slice], size: tuple[int, int, int] = (12, 6, 8)) -> str:
        array = np.zeros(size, np.uint8)
        array[lit] = 7
        return str(volume("mask", array, voxel_size=(40, 32, 32)).path)

    return make


def logging_net(tmp_path: Path) -> dict[str, Any]:
    """Options of a net that logs its patches, doubles them, and adds a ramp."""
    model = tmp_path / "net.py"
    model.write_text(
        "import numpy as np\n"
        "class PatchInferencer:\n"
        f"    def __init__(self, weights, mask): self.log = open({str(tmp_path / 'log')!r}, 'a')\n"
        "    def __call__(self, patch):\n"
        "        print(float(patch.ravel()[0]), file=self.log, flush=True)\n"
        "        return 2 * patch + np.linspace(0, 1, patch.shape[-1], dtype=np.float32)\n"
        "    def __del__(self): self.log.close()\n"
    )
    return {"framework": "universal", "convnet_model": str(model)}


def read_log(tmp_path: Path) -> list[str]:
    """What the net ran on since the last call, without the two patches of noise at its start."""
    lines = (tmp_path / "log").read_text().splitlines()
    (tmp_path / "log").unlink()
    return lines[2:]


LIT = (slice(0, 12), slice(1, 5), slice(1, 6))


@pytest.mark.parametrize("lattice", ["chunk", "global"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_voxels_inside_a_mask_do_not_change_and_patches_outside_are_not_run(
    tmp_path: Path, mask: Callable[..., str], lattice: str, inverse: bool, batch: int
) -> None:
    path, options = mask(LIT), logging_net(tmp_path) | {"lattice": lattice, "batch_size": batch}
    image = floats((12, 24, 32))
    (whole,), before = run(inference(**options), image, [image.bbox])
    everything = read_log(tmp_path)
    masked = inference(**options, mask_volume_path=path, mask_mip=0, mask_inverse=inverse)
    (found,), task = run(masked, image, [image.bbox])
    ran = read_log(tmp_path)

    fine = np.zeros(image.array.shape, bool)
    fine[:, 4:20, 4:24] = True
    fine = ~fine if inverse else fine
    assert np.array_equal(found.array[0][fine], whole.array[0][fine])
    # Computed independently: the patches whose 4 x 8 x 8 output contains a voxel of the mask.
    shape = PatchShape(Vec3(4, 8, 8), Vec3(4, 8, 8), Vec3(1, 2, 2))
    placed = make_lattice(lattice, image.bbox, shape, image.bbox, Vec3(0, 0, 0))
    wanted = [
        p for p in placed.patches() if fine[BoundingBox.sized(p, shape.output).slices()].any()
    ]
    assert 0 < len(wanted) < placed.count
    assert len(ran) == task.patches == len(wanted)
    assert task.patches_skipped == placed.count - len(wanted)
    assert before.patches == len(everything) == placed.count
    assert before.patches_skipped == 0
    assert set(ran) < set(everything)
    covered = np.zeros(fine.shape, bool)
    for position in wanted:
        covered[BoundingBox.sized(position, shape.output).slices()] = True
    assert not found.array[0][~covered].any()


def test_patches_skipped_by_zeros_and_masks_are_counted(
    mask: Callable[..., str], run_step: Any
) -> None:
    """There are 3 x 4 patches without overlap. The mask is set in the middle row, and one patch is
    zero.
    """
    path = mask((slice(None), slice(2, 4), slice(None)))
    image = floats((4, 24, 32))
    image.array[:, 8:16, 8:16] = 0
    operator = inference(mask_volume_path=path, mask_mip=0, output_patch_overlap=(0, 0, 0))
    task = run_step(operator, chunk=image)
    assert (task.patches, task.patches_skipped) == (3, 9)
    inverse = inference(
        mask_volume_path=path, mask_mip=0, mask_inverse=True, output_patch_overlap=(0, 0, 0)
    )
    task = run_step(inverse, task=Task(values={"chunk": image}))
    assert (task.patches, task.patches_skipped) == (8, 4)


def test_patch_counts_of_two_nets_of_a_chain_are_added(run_step: Any) -> None:
    task = run_step(inference(output_patch_overlap=(0, 0, 0)), chunk=floats((4, 8, 16)))
    task = run_step(inference(output_patch_overlap=(0, 0, 0)), task=task)
    assert (task.patches, task.patches_skipped) == (4, 0)


@pytest.mark.parametrize(("inverse", "patches"), [(False, 0), (True, 4)])
def test_the_mask_is_zero_outside_its_volume(
    mask: Callable[..., str], run_step: Any, inverse: bool, patches: int
) -> None:
    path = mask((slice(None), slice(None), slice(None)))
    far = floats((4, 16, 16), (-8, -40, 400))
    operator = inference(
        mask_volume_path=path, mask_mip=0, mask_inverse=inverse, output_patch_overlap=(0, 0, 0)
    )
    task = run_step(operator, chunk=far)
    assert (task.patches, task.patches_skipped) == (patches, 4 - patches)
    assert task.chunk("chunk").array.any() == inverse


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(3, 12), st.integers(5, 24), st.integers(5, 32), st.booleans())
def test_with_the_global_lattice_the_result_under_a_mask_does_not_depend_on_the_cut(
    volume: MakeVolume, z: int, y: int, x: int, inverse: bool
) -> None:
    """The patches of the global lattice, and those that the mask excludes, are the same for every
    cut.
    """
    array = np.zeros((12, 6, 8), np.uint8)
    array[LIT] = 1
    path = str(volume(f"mask-{z}-{y}-{x}-{inverse}", array, voxel_size=(40, 32, 32)).path)
    image = floats((12, 24, 32))
    operator = inference(mask_volume_path=path, mask_mip=0, mask_inverse=inverse, lattice="global")
    whole = run(operator, image, [image.bbox])[0][0]
    for part in run(operator, image, pieces(image, Vec3(z, y, x)))[0]:
        assert np.abs(part.array - whole.cutout(part.bbox).array).max() < 1e-3


def test_a_mask_that_is_finer_than_the_image_is_refused(volume: MakeVolume, run_step: Any) -> None:
    path = volume("mask", np.ones((8, 8, 8), np.uint8), voxel_size=(40, 4, 4)).path
    with pytest.raises(ChunkMismatch, match="finer than the chunk's"):
        run_step(inference(mask_volume_path=path, mask_mip=0), chunk=floats((4, 8, 8)))
