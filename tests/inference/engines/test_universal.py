"""The universal engine: what the PatchInferencer files of users do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.universal import UniversalEngine
from chunkflow_worker.machine.cpu import cpu_name

SIZE = Vec3(2, 3, 4)


def engine_of(tmp_path: Path, device: str, body: str) -> UniversalEngine:
    model = tmp_path / "net.py"
    model.write_text(f"""
class PatchInferencer:
    def __init__(self, weight_path, output_patch_mask):
        self.mask = output_patch_mask

    @property
    def compute_device(self):
        {device}

    def __call__(self, patch):
        {body}
        return patch * self.mask
""")
    return UniversalEngine(EngineSpec(SIZE, SIZE, channels=1, model_path=str(model)))


def test_the_device_is_that_of_the_file(tmp_path: Path) -> None:
    assert engine_of(tmp_path, "return 'a TPU'", "pass").device == "a TPU"


def test_a_file_that_names_a_gpu_runs_without_one(tmp_path: Path) -> None:
    """Files of chunkflow users ask torch for the name of the GPU, which then raises."""
    engine = engine_of(
        tmp_path, "raise AssertionError('Torch not compiled with CUDA enabled')", "pass"
    )
    assert engine.device == cpu_name()
    patch = np.random.default_rng(0).random((1, *SIZE), np.float32)
    assert np.array_equal(engine.predict([patch])[0], patch)


def test_a_file_may_change_its_input(tmp_path: Path) -> None:
    """Patches of a float image are views of the image, which other operators still need."""
    engine = engine_of(tmp_path, "return ''", "patch *= 2")
    image = np.random.default_rng(0).random((1, *SIZE), np.float32)
    image.flags.writeable = False
    assert np.array_equal(engine.predict([image])[0], 2 * image)
    assert np.array_equal(engine.predict([image])[0], 2 * image)


@pytest.mark.parametrize(
    ("device", "body", "told"),
    [
        ("pass", "patch = patch * self.wrong", "in line 11, `patch = patch.*AttributeError.*mend"),
        ("pass", "raise RuntimeError('No CUDA GPUs are available')", r"leave out \.cuda\(\)"),
    ],
)
def test_the_line_that_fails_is_told(tmp_path: Path, device: str, body: str, told: str) -> None:
    engine = engine_of(tmp_path, device, body)
    with pytest.raises(ModelError, match=rf"(?s)fails on a patch of noise.*{told}"):
        engine.answers(engine._spec)


def test_a_class_that_takes_no_arguments_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("class PatchInferencer:\n    def __init__(self): pass\n")
    with pytest.raises(ModelError, match=r"PatchInferencer of .* fails: TypeError: .*\n.*-w"):
        UniversalEngine(EngineSpec(SIZE, SIZE, channels=1, model_path=str(path)))


def test_a_tensor_with_gradients_is_as_good_as_an_array(tmp_path: Path) -> None:
    made = "import torch; patch = torch.from_numpy(patch).requires_grad_(); self.mask = 2"
    engine = engine_of(tmp_path, "return ''", made)
    patch = np.random.default_rng(0).random((1, *SIZE), np.float32)
    assert np.array_equal(engine.predict([patch])[0], 2 * patch)
