"""The identity engine, with and without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines import identity
from chunkflow_worker.inference.engines.identity import IdentityEngine
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.machine.cpu import cpu_name

SIZE = Vec3(4, 8, 10)


@pytest.fixture(params=["torch", "numpy"])
def engine_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an engine; its arrays are those of torch, or numpy's as if torch were not installed."""
    if request.param == "numpy":
        monkeypatch.setattr(identity, "find_spec", lambda name: None)

    def make(channels: int, output_size: Vec3 = SIZE) -> IdentityEngine:
        engine = IdentityEngine(EngineSpec(SIZE, output_size, channels))
        assert isinstance(engine.arrays, TorchArrays if request.param == "torch" else HostArrays)
        return engine

    return make


def predicted(engine: IdentityEngine, *patches: np.ndarray) -> list[np.ndarray]:
    outputs = engine.predict([engine.arrays.put(patch) for patch in patches])
    return [np.asarray(output) for output in outputs]


def noise(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(channels).random((channels, *SIZE), np.float32)


def test_it_runs_on_the_cpu_in_float32(engine_of: Any) -> None:
    engine = engine_of(2)
    assert (engine.device, engine.precision, engine.channels) == (cpu_name(), "float32", 2)
    assert engine.batch_size((1, *SIZE)) == 1
    assert not engine.overflowed()


def test_each_patch_is_returned_in_order(engine_of: Any) -> None:
    patches = [noise(), 2 * noise(), 3 * noise()]
    outputs = predicted(engine_of(1), *patches)
    assert all(np.array_equal(a, b) for a, b in zip(outputs, patches, strict=True))
    assert predicted(engine_of(1)) == []


@pytest.mark.parametrize("output_size", [Vec3(4, 8, 10), Vec3(2, 8, 4), Vec3(2, 2, 2)])
def test_the_middle_of_the_patch_is_returned(engine_of: Any, output_size: Vec3) -> None:
    crop = (SIZE - output_size) // 2
    (output,) = predicted(engine_of(1, output_size), noise())
    z, y, x = (slice(c, n - c) for c, n in zip(crop, SIZE, strict=True))
    assert output.shape == (1, *output_size)
    assert np.array_equal(output, noise()[:, z, y, x])


@pytest.mark.parametrize(
    ("given", "channels", "expected"),
    [(1, 3, [0, 0, 0]), (3, 3, [0, 1, 2]), (2, 5, [0, 1, 0, 1, 0]), (4, 2, [0, 1])],
)
def test_input_channels_are_repeated_for_the_output(
    engine_of: Any, given: int, channels: int, expected: list[int]
) -> None:
    (output,) = predicted(engine_of(channels), noise(given))
    assert np.array_equal(output, noise(given)[expected])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "bool", "float16", "float64"])
def test_integers_are_scaled_to_one(engine_of: Any, dtype: str) -> None:
    patch = (noise() * 100).astype(dtype)
    (output,) = predicted(engine_of(1), patch)
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    assert output.dtype == np.float32
    assert np.allclose(output, patch.astype(float) / scale, rtol=1e-6)
