"""Nets that TensorRT is to run. Without a GPU, onnxruntime runs the same models on the CPU instead;
what TensorRT itself makes of them is not tested here.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.torch import TorchEngine
from chunkflow_worker.inference.torch_net import tensorrt_net as module
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.prepare import Prepared, prepare
from tests.inference.torch_net.test_openvino_net import assert_same

CPU = torch.device("cpu")
PATCH = (1, 1, 8, 32, 32)


class Sessions:
    """onnxruntime, whose sessions run on the CPU whatever provider they are to use.

    options: those that TensorRT was given, by session.
    """

    def __init__(self, providers: list[str]):
        self.providers, self.options = providers, list[dict[str, str]]()

    def get_available_providers(self) -> list[str]:
        return self.providers

    def InferenceSession(self, model: bytes, providers: Any) -> Any:
        (name, options), *others = providers
        assert [name, *others] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        self.options.append(options)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: self.providers
        return session


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sessions:
    made = Sessions([module.PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(module, "_runtime", lambda: made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made


def prepared(net: nn.Module, **options: Any) -> Prepared:
    precision = options.pop("precision", "float32")
    return prepare(Net(net.eval(), **options), PATCH, precision, CPU, "tensorrt")


class Unet(nn.Module):
    """With a norm over space, a transposed convolution, and two outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.InstanceNorm3d(4))
        self.up = nn.ConvTranspose3d(4, 3, 2, stride=2)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.down(image)
        return {"map": torch.sigmoid(self.up(features)), "features": features}


def test_the_output_is_that_of_the_net(sessions: Sessions) -> None:
    net = Unet()
    made = prepared(net, editable=True)
    assert made.library == "TensorRT"
    assert_same(made, net, PATCH)
    assert_same(made, net, (2, *PATCH[1:]))  # by torch


def test_an_engine_is_kept_by_net_and_precision(sessions: Sessions, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, other = nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(1, 2, 3, padding=1)
    for one in (net, net, other):
        prepared(one)
    prepared(net, precision="float16")
    folders = [Path(options["trt_engine_cache_path"]) for options in sessions.options]
    assert all(options["trt_engine_cache_enable"] == "1" for options in sessions.options)
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert all(folder.is_relative_to(tmp_path) and folder.is_dir() for folder in folders)
    in_half = ["trt_fp16_enable" in options for options in sessions.options]
    assert in_half == [False, False, False, True]


def test_an_engine_that_can_not_be_kept_is_built_at_each_start(
    sessions: Sessions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "chunkflow").write_text("no folder")
    net = nn.Conv3d(1, 2, 3, padding=1)
    assert prepared(net).library == "TensorRT"
    assert "trt_engine_cache_path" not in sessions.options[0]
    assert "engine is built at each start, since it can't be kept" in caplog.text


def test_a_wrong_reduced_precision_is_replaced_by_float32(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "chunkflow_worker.inference.torch_net.prepare.fast_precision", lambda device: "float16"
    )
    call = module.TensorrtNet.__call__

    def spoilt(self: Any, inputs: Any) -> Any:
        return call(self, inputs) * (2 if len(sessions.options) == 1 else 1)

    monkeypatch.setattr(module.TensorrtNet, "__call__", spoilt)
    net = nn.Conv3d(1, 2, 3, padding=1)
    made = prepared(net, precision="auto")
    assert (made.library, made.precision) == ("TensorRT", "float32")
    assert "the net runs in float32: in float16, its output for noise differs by" in caplog.text


def script() -> Any:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.script(nn.Conv3d(1, 2, 1))


class Branches(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 2 if image.mean() > 0.3 else image


@pytest.mark.parametrize(
    ("net", "providers", "problem"),
    [
        (Branches, None, "its Python code depends on the values of a patch"),
        (script, None, "it is TorchScript"),
        (
            partial(nn.Conv3d, 1, 2, 1),
            ["CUDAExecutionProvider"],
            "TensorRT's libraries can't be loaded",
        ),
    ],
)
def test_what_can_not_be_is_run_by_torch_and_told(
    sessions: Sessions,
    caplog: pytest.LogCaptureFixture,
    net: Callable[[], Any],
    providers: list[str] | None,
    problem: str,
) -> None:
    sessions.providers = providers or sessions.providers
    made_net = net()
    made = prepared(made_net, editable=not isinstance(made_net, torch.jit.ScriptModule))
    assert made.library == ""
    assert f"torch runs the net, more slowly than TensorRT would: {problem}" in caplog.text


def test_without_a_gpu_torch_runs_the_net(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\nInstantiatedModel = nn.Conv3d(1, 2, 1)\n")
    size = Vec3(4, 8, 8)
    with caplog.at_level(logging.WARNING):
        engine = TorchEngine(
            EngineSpec(size, size, 2, model_path=str(path), acceleration="tensorrt")
        )
    assert "TensorRT would: it needs an NVIDIA GPU" in caplog.text
    (output,) = engine.predict([torch.from_numpy(np.ones((1, *size), np.float32))])
    assert output.shape == (2, *size)


def test_an_onnxruntime_without_tensorrt_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(module.Unsuited, match=r"built without TensorRT: .*\[tensorrt\]"):
        module._runtime()


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(module.Unsuited, match=r"onnxscript is not installed: pip .*\[tensorrt\]"):
        module._runtime()
