"""What is read from files with weights, and what is refused."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.torch_net.checkpoint import one_line, read_checkpoint

WEIGHTS = {"weight": torch.arange(3.0)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "w.ckpt")


@pytest.mark.parametrize(
    "extra",
    [
        np.float64(0.9),
        np.float32(0.9),
        np.int64(3),
        np.bool_(True),
        np.arange(4.0),
        np.array(["dice", "loss"]),
        {"best": [np.float64(1)], "epoch": 3},
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_numpy_need_no_trust(path: str, extra: Any) -> None:
    """nnU-Net and MONAI store scores as these."""
    torch.save({"network_weights": WEIGHTS, "_best_ema": extra}, path)
    read = read_checkpoint(path, trusted=False)
    assert torch.equal(read["network_weights"]["weight"], WEIGHTS["weight"])
    assert np.array_equal(read["_best_ema"], extra)


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (Path("logs"), "pathlib"),
        (print, "print"),
        (np.array([print], dtype=object), "print"),
    ],
)
def test_other_objects_are_named_and_need_trust(path: str, extra: Any, name: str) -> None:
    """Lightning stores its callbacks and hyperparameters."""
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": extra}, path)
    with pytest.raises(ModelError) as error:
        read_checkpoint(path, trusted=False)
    text = str(error.value)
    assert f"w.ckpt holds more than tensors ({name}" in text
    assert "state_dict()" in text
    assert "--trust-weights" in text
    assert len(text.splitlines()) == 2
    assert torch.equal(
        read_checkpoint(path, trusted=True)["state_dict"]["weight"], torch.arange(3.0)
    )


def test_a_package_that_is_missing_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lightning_of_this_test")
    module.Config = type("Config", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        torch.save({"state_dict": WEIGHTS, "config": module.Config()}, path)
    with pytest.raises(
        ModelError, match="package lightning_of_this_test, which is not installed\n    install it"
    ):
        read_checkpoint(path, trusted=True)


def write_safetensors(path: str) -> None:
    """By the specification: the length of a header in JSON, the header, and the numbers."""
    header = b'{"weight":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    numbers = np.arange(3, dtype="<f4").tobytes()
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + numbers)


def test_safetensors_are_read_by_their_library(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_safetensors(path)
    library, inner = ModuleType("safetensors"), ModuleType("safetensors.torch")
    inner.load_file = lambda name: {"weight": name}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "safetensors", library)
    monkeypatch.setitem(sys.modules, "safetensors.torch", inner)
    assert read_checkpoint(path, trusted=False) == {"weight": path}


def test_safetensors_without_their_library_are_told(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_safetensors(path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ConfigError, match=r"w\.ckpt is a file of safetensors.*\n    pip install"):
        read_checkpoint(path, trusted=False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines  here"), "two lines here"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (EOFError(), "the file ends too early"),
        (RuntimeError("x " * 900), ("x " * 900)[:400]),
    ],
)
def test_errors_of_libraries_are_quoted_in_one_line(error: Exception, text: str) -> None:
    assert one_line(error) == text
