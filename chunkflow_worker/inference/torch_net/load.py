"""`load_net`: a net of PyTorch from a Python file, TorchScript or torch.export."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.model_file import load_source

# Characters that are quoted from the error of a library.
_LONGEST = 500


@dataclass(frozen=True)
class Net:
    """A net on the CPU, in evaluation mode, and what its file says about it.

    module: callable with a float tensor nczyx.
    pre_process: makes the net's input of an ndarray nczyx.
    post_process: makes a tensor nczyx of the net's output.
    batch: the only batch size that the net takes; None for any.
    editable: whether its graph may be changed for speed; exported programs are not changed.
    """

    module: Any
    pre_process: Callable[[Any], Any] | None = None
    post_process: Callable[[Any], Any] | None = None
    batch: int | None = None
    editable: bool = False


def load_net(model_path: str, weight_path: str | None, trust_weights: bool = False) -> Net:
    """Load a net and its weights.

    model_path: one of
        - a Python file that defines ``load_model(weight_path) -> torch.nn.Module``
        - a Python file with a module ``InstantiatedModel``, into which the weights are loaded
        - a file of ``torch.jit.save`` or ``torch.export.save``, which holds its weights
        A Python file may also define ``pre_process`` and ``post_process``.
    trust_weights: let the file with the weights run code, which pickles of whole objects need.

    Raises ConfigError if a file does not exist, and ModelError if it does not load.
    """
    for name, path in (("convnet_model", model_path), ("convnet_weight_path", weight_path)):
        if path is not None and not Path(path).exists():
            raise ConfigError.one(
                "net",
                name,
                f"{path} does not exist",
                "give the path of a file on this machine",
            )
    try:
        if not zipfile.is_zipfile(model_path):
            return _from_source(model_path, weight_path, trust_weights)
        if weight_path is not None:
            raise ModelError(
                f"{model_path} holds its weights itself: leave out convnet_weight_path"
            )
        members = zipfile.ZipFile(model_path).namelist()
        is_script = any("/code/" in name for name in members)
        return _from_script(model_path) if is_script else _from_export(model_path)
    except (ModelError, ConfigError):
        raise
    except Exception as error:
        used = f"{model_path} with {weight_path}" if weight_path else model_path
        raise ModelError(f"loading {used} fails: {_one_line(error)}") from error


def _from_source(model_path: str, weight_path: str | None, trust_weights: bool) -> Net:
    torch = needs("torch", extra="torch")
    source = load_source(model_path)
    if hasattr(source, "load_model"):
        net = source.load_model(weight_path)
    elif hasattr(source, "InstantiatedModel"):
        net = source.InstantiatedModel
        if weight_path is not None:
            net.load_state_dict(_state(_weights(weight_path, trust_weights)))
    else:
        raise ModelError(
            f"{model_path} defines neither load_model(weight_path) nor InstantiatedModel"
        )
    if not isinstance(net, torch.nn.Module):
        raise ModelError(f"{model_path} gives a {type(net).__name__}, not a torch.nn.Module")
    return Net(
        net.eval(),
        getattr(source, "pre_process", None),
        getattr(source, "post_process", None),
        editable=not isinstance(net, torch.jit.ScriptModule),
    )


def _from_script(model_path: str) -> Net:
    torch = needs("torch", extra="torch")
    with warnings.catch_warnings():
        # torch plans to drop TorchScript; these files run until then.
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        return Net(torch.jit.load(model_path, map_location="cpu").eval())


def _from_export(model_path: str) -> Net:
    torch = needs("torch", extra="torch")
    program = torch.export.load(model_path)
    inputs = set(program.graph_signature.user_inputs)
    first = next(
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs
    )
    batch = first.meta["val"].shape[0]
    return Net(program.module(), batch=batch if isinstance(batch, int) else None)


def _weights(path: str, trusted: bool) -> Any:
    """The content of a file of torch.save. Raises ModelError."""
    torch = needs("torch", extra="torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted)
    except Exception as error:
        refused = isinstance(error, pickle.UnpicklingError) and "weights only" in str(error).lower()
        if trusted or not refused or not _is_saved(path):
            raise ModelError(
                f"loading weights from {path} fails: {_one_line(error)}; give a file of torch.save"
            ) from error
        raise ModelError(
            f"{path} holds more than tensors, and loading it could run code: "
            "save the net's state_dict() instead, or give --trust-weights if you trust the file"
        ) from error


def _is_saved(path: str) -> bool:
    """Whether a file begins like those of torch.save: a zip archive or, in older ones, a pickle."""
    with Path(path).open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def _one_line(error: Exception) -> str:
    """Type and text of a library's error, in one line."""
    text = " ".join(str(error).split())
    if not text and isinstance(error, EOFError):
        text = "a file is empty, or ends too early"
    return f"{type(error).__name__}: {text[:_LONGEST]}"


def _state(saved: Any) -> Any:
    """The state dict in what was saved: the whole of it, or an entry of a checkpoint.

    Keys lose the prefix that DataParallel adds.
    """
    if isinstance(saved, dict):
        saved = next(
            (saved[key] for key in ("state_dict", "model_state_dict") if key in saved), saved
        )
        if saved and all(str(key).startswith("module.") for key in saved):
            return {str(key).removeprefix("module."): value for key, value in saved.items()}
    return saved.state_dict() if hasattr(saved, "state_dict") else saved
