"""Whole runs on real EM volumes, which are in the folder CHUNKFLOW_TEST_DATA."""

from __future__ import annotations

import importlib.util
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from cloudvolume import CloudVolume

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.paths import DATA
from tests.support.service import Service

PINKY, FIB25 = DATA / "pinky100", DATA / "fib25"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # real nets on few cores
]


def make_volumes(
    service: Service, image: np.ndarray, voxel_size: tuple, block: Vec3, out: dict[str, Any]
) -> BoundingBox:
    box = BoundingBox.sized((0, 0, 0), image.shape)
    create_volume(
        service.path("in"), bounds=box, voxel_size=voxel_size, block_size=block, dtype="uint8"
    )
    PrecomputedVolume(service.path("in")).write(box, image)
    for name in ("out", "whole"):
        create_volume(
            service.path(name), bounds=box, voxel_size=voxel_size, block_size=block, **out
        )
    return box


def whole_pass(image: np.ndarray) -> np.ndarray:
    """The net's answer for the whole sample at once, without our code."""
    spec = importlib.util.spec_from_file_location("cleft_net", PINKY / "cleft_net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.load_model(str(PINKY / "cleft_weights.pt"))
    with torch.inference_mode():
        return net(torch.from_numpy(image)[None, None].float() / 255)[0, 0].numpy()


@pytest.mark.skipif(not PINKY.exists(), reason="pinky100 is not in CHUNKFLOW_TEST_DATA")
@pytest.mark.parametrize(
    ("sample", "acceleration"),
    [("sample1", "auto"), pytest.param("sample2", "none", marks=pytest.mark.long)],
)
def test_clefts_of_pinky100(service: Service, sample: str, acceleration: str) -> None:
    with h5py.File(PINKY / f"{sample}_input.h5") as h5:
        image = h5["main"][:]
    box = make_volumes(service, image, (40, 7.16, 7.16), Vec3(18, 32, 32), {"dtype": "float32"})
    service.chain(
        {
            "op": "inference",
            "framework": "pytorch",
            "convnet_model": str(PINKY / "cleft_net.py"),
            "convnet_weight_path": str(PINKY / "cleft_weights.pt"),
            "input_patch_size": [18, 160, 160],
            "output_patch_overlap": [4, 32, 32],
            "num_output_channels": 1,
            "acceleration": acceleration,
        }
    )
    service.create_queue(visibility=60)
    service.enqueue(chunk=Vec3(18, 96, 96))
    for _ in range(2):
        service.start_worker(lease_seconds=30)
    service.wait_done(4, 600)
    found, expected = service.output(), whole_pass(image)
    assert found.shape == tuple(box.size)
    # The net sees about 16 voxels around each voxel. The whole pass pads with zeros at the border
    # of the sample, patches do so at their own borders.
    inner = (slice(None), slice(32, -32), slice(32, -32))
    difference = np.abs(found - expected)[inner]
    assert difference.mean() < 1e-4
    assert np.mean((found > 0.25)[inner] != (expected > 0.25)[inner]) < 5e-4
    if sample == "sample1":
        assert expected.max() == pytest.approx(0.9526, abs=1e-3)
        assert found.max() == pytest.approx(expected.max(), abs=0.02)
        overlap = (found > 0.25) & (expected > 0.25)
        assert overlap.sum() > 0.9 * (expected > 0.25).sum() > 0
    else:
        assert np.mean(found > 0.25) < 5e-5


@pytest.mark.skipif(not FIB25.exists(), reason="fib25 is not in CHUNKFLOW_TEST_DATA")
def test_fib25_through_the_queue_equals_one_box_on_the_command_line(service: Service) -> None:
    with h5py.File(FIB25 / "training_sample2.h5") as h5:
        image = h5["raw"][:]
    make_volumes(service, image, (10, 10, 10), Vec3(32, 32, 32), {"dtype": "uint8"})
    inference = {
        "framework": "identity",
        "input_patch_size": [48, 48, 48],
        "output_patch_overlap": [8, 8, 8],
    }
    service.chain(
        {"op": "normalize-intensity"}, {"op": "inference", "num_output_channels": 1} | inference
    )
    service.create_queue(visibility=60)
    service.enqueue(chunk=Vec3(96, 96, 96))
    for _ in range(2):
        service.start_worker(in_flight=2)
    service.wait_done(27, 600)

    service.run_in_one_box()
    ours, theirs = (
        np.asarray(CloudVolume(service.path(n), progress=False)[:]) for n in ("out", "whole")
    )
    assert np.array_equal(ours, theirs), "byte for byte"
    grey = image.astype(np.float32) / 127.5 - 1
    expected = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    assert np.abs(ours[..., 0].T.astype(int) - expected).max() <= 1, "and what the chain says"
    assert len(service.records()) == 27
