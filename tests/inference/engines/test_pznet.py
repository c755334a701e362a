"""The PZNet engine with a double of the package `pznet.pznet`.

The real package is built by hand for each processor, and was not used here. The double behaves as
users of the package rely on, and is as strict: it takes one input shape and one type, requires
contiguous memory, and its next call overwrites the output.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines import open_engine
from chunkflow_worker.inference.engines.pznet import PznetEngine
from chunkflow_worker.operators.inference import Inference

SIZE = Vec3(4, 8, 8)


def engine_of(path: str, channels: int, output_size: Vec3 = SIZE, **options: Any) -> PznetEngine:
    options = {"trust_weights": True, **options}
    return PznetEngine(EngineSpec(SIZE, output_size, channels, model_path=path, **options))


class PZNet:
    """Doubles its input; the second channel is the negative. A wrong shape ends the process."""

    in_shape: Any = (2, 1, 4, 8, 8)
    crop = 0
    made: list[PZNet] = []

    def __init__(self, net_path: str):
        if (Path(net_path) / "broken").exists():
            raise RuntimeError("no znet.so")
        self.calls = 0
        self._output: np.ndarray = np.empty(0, np.float32)
        PZNet.made.append(self)

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.shape != tuple(self.in_shape) or x.dtype != np.float32 or not x.flags.c_contiguous:
            raise SystemExit("segmentation fault")
        self.calls += 1
        inner = x[..., self.crop : x.shape[3] - self.crop, self.crop : x.shape[4] - self.crop]
        output = np.concatenate([2 * inner, -inner], axis=1)
        if self._output.shape != output.shape:
            self._output = np.empty_like(output)
        self._output[:] = output
        return self._output


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a compiled net; the double is installed as the package."""
    package, inner = ModuleType("pznet"), ModuleType("pznet.pznet")
    inner.PZNet = PZNet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pznet", package)
    monkeypatch.setitem(sys.modules, "pznet.pznet", inner)
    monkeypatch.setattr(PZNet, "made", [])
    return str(tmp_path)


def noise(count: int, dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    if dtype == "float32":
        return list(rng.random((count, 1, *SIZE), np.float32))
    return list(rng.integers(0, 255, (count, 1, *SIZE)).astype(dtype))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 2])
def test_patches_run_in_the_batch_size_of_the_net(net: str, count: int, channels: int) -> None:
    engine = engine_of(net, channels)
    assert engine.batch_size((1, *SIZE)) == 2
    patches = noise(count)
    outputs = engine.predict(patches)
    assert len(outputs) == count
    for patch, output in zip(patches, outputs, strict=True):
        assert np.array_equal(output, np.concatenate([2 * patch, -patch])[:channels])
    assert PZNet.made[0].calls == -(-count // 2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_images_of_integers_are_scaled_to_one(net: str, dtype: str) -> None:
    patches = noise(1, dtype)
    output = engine_of(net, 1).predict(patches)[0]
    assert np.allclose(output, 2.0 * patches[0] / np.iinfo(dtype).max)


def test_patches_cut_from_a_chunk_are_made_contiguous(net: str) -> None:
    image = np.random.default_rng(2).random((1, 9, 20, 20), np.float32)
    window = image[:, 2:6, 5:13, 7:15]
    turned = window.swapaxes(-1, -2)[..., ::-1]
    outputs = engine_of(net, 1).predict([window, turned])
    assert np.array_equal(outputs[0], 2 * window)
    assert np.array_equal(outputs[1], 2 * turned)


@pytest.mark.parametrize("shape", [(1, 1, 4, 8, 9), (1, 2, 4, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8, 1)])
def test_a_net_of_another_shape_is_refused_before_it_runs(
    net: str, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    monkeypatch.setattr(PZNet, "in_shape", shape)
    with pytest.raises(
        ModelError, match=r"compiled for input .* the options declare \[n, 1, 4, 8, 8\]"
    ):
        engine_of(net, 1)
    assert PZNet.made[0].calls == 0


def test_a_shape_may_be_an_array(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PZNet, "in_shape", np.array([1, 1, 4, 8, 8]))
    patch = noise(1)
    assert np.array_equal(engine_of(net, 1).predict(patch)[0], 2 * patch[0])


def test_valid_convolutions_return_the_middle(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PZNet, "crop", 1)
    patch = noise(1)
    output = engine_of(net, 1, Vec3(4, 6, 6)).predict(patch)[0]
    assert np.array_equal(output, 2 * patch[0][..., 1:7, 1:7])
    with pytest.raises(ModelError, match="the net returned shape"):
        engine_of(net, 1).predict(patch)
    with pytest.raises(ModelError, match="at least 3 channels"):
        engine_of(net, 3, Vec3(4, 6, 6)).predict(patch)


def test_it_runs_in_the_operator(net: str, run_step: Any) -> None:
    operator = Inference(
        framework="pznet",
        convnet_model=net,
        input_patch_size=SIZE,
        output_patch_overlap=(1, 2, 2),
        num_output_channels=2,
        trust_weights=True,
    )
    image = Chunk(np.random.default_rng(3).integers(1, 255, (9, 18, 20), np.uint8))
    task = run_step(operator, chunk=image)
    result = task.chunk("chunk")
    grey = image.cutout(result.bbox).array / 255
    assert np.allclose(result.array, np.stack([2 * grey, -grey]), atol=1e-6)
    assert task.precision == "float32"


def test_a_random_net_is_refused_or_told(
    net: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward, rng = PZNet.forward, np.random.default_rng(0)
    monkeypatch.setattr(
        PZNet, "forward", lambda self, x: forward(self, x) * np.float32(rng.random())
    )
    spec = EngineSpec(SIZE, SIZE, 2, model_path=net, trust_weights=True)
    with pytest.raises(ModelError, match="gives two answers for one input"):
        open_engine(None, spec)
    open_engine("pznet", replace(spec, allow_random=True))
    assert ["two answers" in r.getMessage() for r in caplog.records] == [True]


def test_a_missing_package_is_reported_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pznet", None)
    monkeypatch.setitem(sys.modules, "pznet.pznet", None)
    with pytest.raises(
        ConfigError,
        match=r"(?s)needs the package pznet.*build it from github.com/supersergiy/znnphi_interface",
    ):
        engine_of(str(tmp_path), 1)


def test_missing_and_broken_nets_are_reported(net: str) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        engine_of(f"{net}/nowhere", 1)
    (Path(net) / "broken").touch()
    with pytest.raises(ModelError, match=r"fails: RuntimeError: no znet\.so"):
        engine_of(net, 1)


def test_compiled_code_is_refused_without_trust(net: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)loading it runs its code.*--trust-weights"):
        engine_of(net, 1, trust_weights=False)
    assert PZNet.made == []
