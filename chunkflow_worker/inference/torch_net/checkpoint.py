"""`read_checkpoint`: what a file with weights holds."""

from __future__ import annotations

import pickle
import re
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.torch_net.archive import WORDS, kind_of

_SAVE = "give a file of torch.save, for example of torch.save(net.state_dict(), 'weights.pt')"
_CURES = {
    "script": "give it as --convnet-model, without --convnet-weight-path",
    "export": "give it as --convnet-model, without --convnet-weight-path",
    "compiled": "give a file of torch.save with the weights of the net",
    "onnx": "give it as --convnet-model, without --convnet-weight-path and --framework",
    "folder": "give the file in it that torch.save wrote",
    "cut": "copy or download it again",
    "lfs": "get the file itself: git lfs pull",
}


def read_checkpoint(path: str, trusted: bool) -> Any:
    """The content of a file of torch.save or safetensors, on the CPU.

    trusted: whether the file may run code, which pickles of objects other than tensors need.

    Raises ConfigError if it is a file of another kind, and ModelError if it can't be read.
    """
    kind = kind_of(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind != "saved":
        problem = f"{path} is {WORDS[kind]}, and a file with weights is needed"
        raise ConfigError.one("net", "convnet_weight_path", problem, _CURES.get(kind, _SAVE))
    torch = needs("torch", extra="torch")
    try:
        with _numbers_allowed(torch):
            return torch.load(path, map_location="cpu", weights_only=not trusted)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{path} holds objects of the Python package {error.name}, which is not installed"
            "\n    install it, or save the net's state_dict() alone where it is installed"
        ) from error
    except Exception as error:
        if trusted or not isinstance(error, pickle.UnpicklingError):
            raise ModelError(f"{path} can't be read: {one_line(error)}\n    {_SAVE}") from error
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        what = f" ({refused[1]})" if refused else ""
        raise ModelError(
            f"{path} holds more than tensors{what}, and loading it could run code\n    "
            "save the net's state_dict() instead, or give --trust-weights if you trust the file"
        ) from error


def one_line(error: BaseException, longest: int = 400) -> str:
    """The text of a library's error in one line; with its type if it says too little."""
    text = " ".join(str(error).split())[:longest]
    if isinstance(error, EOFError):
        return text or "the file ends too early"
    return text if " " in text else f"{type(error).__name__}: {text}"


def _read_safetensors(path: str) -> Any:
    try:
        library: Any = import_module("safetensors.torch")
    except ImportError:
        problem = f"{path} is a file of safetensors, whose library is not installed"
        cure = "pip install safetensors"
        raise ConfigError.one("net", "convnet_weight_path", problem, cure) from None
    try:
        return library.load_file(path)
    except Exception as error:
        raise ModelError(f"{path} can't be read: {one_line(error)}") from error


def _numbers_allowed(torch: Any) -> AbstractContextManager[Any]:
    """Let numpy's numbers and arrays pass, which run no code: many checkpoints hold scores."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # before torch 2.6
        return nullcontext()
    core = "numpy._core" if find_spec("numpy._core") else "numpy.core"
    makers = import_module(f"{core}.multiarray")
    named = [
        (getattr(makers, name), f"{module}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for module in ("numpy.core", "numpy._core")  # of numpy 1 and 2
    ]
    types = {type(np.dtype(code)) for code in np.typecodes["All"]}
    allowed: AbstractContextManager[Any] = torch.serialization.safe_globals(
        [*named, np.dtype, np.ndarray, *types]
    )
    return allowed
