"""What only a GPU can show: its results, precisions and memory. Other tests use a GPU too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.conversion import Tally, convert
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.torch import TorchEngine
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.pipeline.task import Task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

NET = (
    "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
    "InstantiatedModel = nn.Sequential(\n"
    "    nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ELU(), nn.MaxPool3d((1, 2, 2)),\n"
    "    nn.Conv3d(6, 12, (1, 3, 3), padding=(0, 1, 1)), nn.ELU(),\n"
    "    nn.Upsample(scale_factor=(1, 2, 2), mode='trilinear'),\n"
    "    nn.Conv3d(12, 3, 1), nn.Sigmoid())\n"
)
Infer = Callable[..., Task]


@pytest.fixture
def infer(tmp_path: Path, run_step: Any) -> Infer:
    def run(image: Chunk, **options: Any) -> Task:
        (tmp_path / "net.py").write_text(options.pop("net", NET))
        sizes = {
            "input_patch_size": (8, 32, 32),
            "output_patch_overlap": (2, 8, 8),
            "num_output_channels": 3,
        }
        operator = Inference(
            framework="pytorch", convnet_model=str(tmp_path / "net.py"), **(sizes | options)
        )
        return run_step(operator, chunk=image)

    return run


def noise(size: tuple[int, int, int] = (27, 70, 90)) -> Chunk:
    return Chunk(np.random.default_rng(5).integers(1, 256, size, np.uint8), Vec3(-3, 5, 7))


@pytest.mark.parametrize("lattice", ["chunk", "global"])
def test_a_gpu_gives_the_results_of_a_cpu(
    infer: Infer, monkeypatch: pytest.MonkeyPatch, lattice: str
) -> None:
    on_gpu = infer(noise(), lattice=lattice, precision="float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = infer(noise(), lattice=lattice, precision="float32")
    assert on_gpu.device == torch.cuda.get_device_name(0)
    assert on_cpu.device != on_gpu.device
    assert on_gpu.chunk("chunk").bbox == on_cpu.chunk("chunk").bbox
    assert np.abs(on_gpu.chunk("chunk").array - on_cpu.chunk("chunk").array).max() < 1e-5


@pytest.mark.parametrize(
    ("precision", "used", "most"),
    [("auto", "float16", 2e-3), ("bfloat16", "bfloat16", 2e-2), ("tf32", "tf32", 2e-3)],
)
@pytest.mark.parametrize("acceleration", ["none", "graph"])
def test_reduced_precisions_are_close_to_float32(
    infer: Infer, precision: str, used: str, most: float, acceleration: str
) -> None:
    exact = infer(noise(), precision="float32").chunk("chunk").array
    task = infer(noise(), precision=precision, acceleration=acceleration, batch_size=3)
    assert task.precision == used
    assert np.abs(task.chunk("chunk").array - exact).max() < most


def test_a_task_with_a_value_too_large_for_float16_runs_again(infer: Infer) -> None:
    net = (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return x * 1e5\n"
        "InstantiatedModel = Net()\n"
    )
    task = infer(noise(), net=net, num_output_channels=1)
    box = task.chunk("chunk").bbox
    assert task.precision == "float32"
    assert np.allclose(
        task.chunk("chunk").array[0], noise().cutout(box).array / 255 * 1e5, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_slabs_are_converted_as_on_the_host_while_more_are_sent(dtype: str) -> None:
    arrays = TorchArrays("cuda")
    values = np.random.default_rng(0).normal(0, 3, (3, 40, 64, 64)).astype(np.float32)
    values[0, 0, 0, :3] = np.nan, np.inf, 1e30
    found = np.zeros(values.shape, dtype)
    slab = arrays.put(values)
    arrived = [arrays.send(slab[:, z : z + 8], found[:, z : z + 8]) for z in range(0, 40, 8)]
    slab.zero_()  # a slab may be changed once it is being sent
    tally = Tally()
    with np.errstate(all="ignore"):
        expected = convert(values, dtype, tally=tally)
    assert sum(wait() for wait in arrived) == tally.clipped
    assert np.array_equal(found, expected, equal_nan=dtype != "uint8")


def test_a_batch_too_large_for_the_memory_is_halved(infer: Infer) -> None:
    """A patch takes about 100 MB, and the slab 70 MB."""
    image = noise((32, 512, 512))
    sizes: dict[str, Any] = {
        "input_patch_size": (16, 256, 256),
        "output_patch_overlap": (0, 0, 0),
        "precision": "float32",
    }
    expected = infer(image, **sizes, batch_size=1).chunk("chunk").array
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((total - free + 400e6) / total)
    try:
        found = infer(image, **sizes, batch_size=8).chunk("chunk").array
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.abs(found - expected).max() < 1e-5


def test_the_batch_grows_with_the_free_memory(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    size, model = Vec3(8, 32, 32), str(tmp_path / "net.py")
    engine = TorchEngine(EngineSpec(size, size, 3, model_path=model))
    assert engine.batch_size((1, 8, 32, 32)) == 8
