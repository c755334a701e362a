"""`load_net`: a net of PyTorch from a Python file, TorchScript or torch.export."""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isclass, signature
from pathlib import Path
from types import ModuleType
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ChunkflowError, ConfigError, ModelError
from chunkflow_worker.inference.model_file import load_source, missing_cure
from chunkflow_worker.inference.model_kind import net_class
from chunkflow_worker.inference.torch_net.archive import RUN_CODE, WORDS, kind_of
from chunkflow_worker.inference.torch_net.checkpoint import one_line, read_checkpoint
from chunkflow_worker.inference.torch_net.fitting import load_fitting
from chunkflow_worker.inference.user_code import cure, fault, takes_one
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

_CURES = {
    "saved": "give the Python file that makes the net, and this file as --convnet-weight-path",
    "safetensors": "give the Python file that makes the net, and this file as "
    "--convnet-weight-path",
    "onnx": "leave out --framework",
    "numpy": "give a Python file with load_model(weight_path)",
    "hdf5": "give a Python file with load_model(weight_path)",
    "compiled": "give a Python, TorchScript or torch.export file",
    "cut": "copy or download it again",
    "lfs": "get the file itself: git lfs pull",
    "empty": "give a Python, TorchScript or torch.export file",
    "other": "give a Python, TorchScript or torch.export file",
}


@dataclass(frozen=True)
class Net:
    """A net on the CPU, in evaluation mode, and what its file says about it.

    module: callable with a float tensor nczyx.
    pre_process: makes the net's input of an ndarray nczyx.
    post_process: makes a tensor nczyx of the net's output.
    batch: the only batch size that the net takes; None for any.
    editable: whether its graph may be changed for speed; exported programs are not changed.
    flat: whether the net takes sections, ncyx. Its patches have one section.
    path: the file that it was loaded from.
    is_python: whether this is a Python file, which may define `post_process`.
    """

    module: Any
    pre_process: Callable[[Any], Any] | None = None
    post_process: Callable[[Any], Any] | None = None
    batch: int | None = None
    editable: bool = False
    flat: bool = False
    path: str = "the net"
    is_python: bool = True


def load_net(
    model_path: str,
    weight_path: str | None,
    trust_weights: bool = False,
    weight_key: str | None = None,
) -> Net:
    """Load a net and its weights.

    model_path: one of
        - a Python file that defines ``load_model(weight_path) -> torch.nn.Module``
        - a Python file with a module ``InstantiatedModel``, into which the weights are loaded
        - a file of ``torch.jit.save`` or ``torch.export.save``, which holds its weights
        A Python file may also define ``pre_process`` and ``post_process``.
    weight_path: for a module ``InstantiatedModel``, a state dict or a checkpoint that holds one,
        see `load_fitting`.
    trust_weights: let files run code, which TorchScript, torch.export and pickles of whole objects
        can do.
    weight_key: which weights of a checkpoint to take, if several fit.

    Raises ConfigError if a file does not exist or is of another kind, and ModelError if it does not
    load.
    """
    for name, path in (("convnet_model", model_path), ("convnet_weight_path", weight_path)):
        if path is not None and not Path(path).exists():
            raise ConfigError.one(
                "net",
                name,
                f"{path} does not exist",
                missing_cure(path),
            )
    kind = kind_of(model_path)
    if kind in RUN_CODE and not trust_weights:
        problem = f"{model_path} is {WORDS[kind]}, and {RUN_CODE[kind]}"
        cure = "give --trust-weights if you trust who made it, or a Python file and a state dict"
        raise ConfigError.one("net", "convnet_model", problem, cure)
    if kind in _CURES:
        problem = f"{model_path} is {WORDS[kind]}, and a net is needed"
        raise ConfigError.one("net", "convnet_model", problem, _CURES[kind])
    if kind not in ("script", "export"):
        return _from_source(model_path, weight_path, trust_weights, weight_key)
    if weight_path is not None:
        raise ModelError(f"{model_path} holds its weights itself: leave out convnet_weight_path")
    try:
        return _from_script(model_path) if kind == "script" else _from_export(model_path)
    except Exception as error:
        raise ModelError(f"loading {model_path} fails: {one_line(error)}") from error


def _from_source(
    model_path: str, weight_path: str | None, trust_weights: bool, weight_key: str | None
) -> Net:
    torch = needs("torch", extra="torch")
    before = torch.random.get_rng_state()
    source = load_source(model_path)
    module = _module(source, model_path, weight_path)
    if weight_key and (weight_path is None or hasattr(source, "load_model")):
        problem = "chooses among the weights of convnet_weight_path for a module InstantiatedModel"
        cure = "leave it out: load_model of the file reads the weights" if weight_path else ""
        raise ConfigError.one("net", "weight_key", problem, cure or "give convnet_weight_path too")
    if weight_path is not None and not hasattr(source, "load_model"):
        load_fitting(module, read_checkpoint(weight_path, trust_weights), weight_path, weight_key)
    elif (
        weight_path is None
        and not torch.equal(before, torch.random.get_rng_state())
        and _has_random_weights(source, module, model_path)
    ):
        warn_once(
            log,
            f"the net of {model_path} has random weights, other ones in each process: give the "
            "file with its trained weights, --convnet-weight-path (-w)",
        )
    return Net(
        module.eval(),
        getattr(source, "pre_process", None),
        getattr(source, "post_process", None),
        editable=not isinstance(module, torch.jit.ScriptModule),
        path=model_path,
    )


def _module(source: ModuleType, model_path: str, weight_path: str | None) -> Any:
    """The net that a Python file makes. Raises ModelError."""
    torch = needs("torch", extra="torch")
    if hasattr(source, "load_model"):
        name, net = "load_model", _made(source.load_model, model_path, weight_path)
    elif hasattr(source, "InstantiatedModel"):
        name, net = "InstantiatedModel", source.InstantiatedModel
    else:
        example = f"InstantiatedModel = {net_class(Path(model_path)) or 'YourNet'}()"
        raise ModelError(
            f"{model_path} defines neither load_model(weight_path) nor InstantiatedModel\n"
            f"    add one at its end, for example: {example}"
        )
    net = getattr(net, "_orig_mod", net)  # without torch.compile; --acceleration compiles
    if isinstance(net, torch.nn.DataParallel):
        net = net.module
    if isclass(net):
        make = name if name == "InstantiatedModel" else net.__name__
        raise ModelError(f"{name} of {model_path} is a class, not a net: make one of it, {make}()")
    if not isinstance(net, torch.nn.Module):
        others = {type(None): "nothing", dict: "weights", OrderedDict: "weights"}
        what = others.get(type(net), "something else")
        way = "let it return the net" if name == "load_model" else "assign the net to it"
        raise ModelError(
            f"{name} of {model_path} gives {what}, not a net (torch.nn.Module)\n    {way}"
        )
    return net


def _made(load_model: Callable[[Any], Any], model_path: str, weight_path: str | None) -> Any:
    """What `load_model` of a Python file returns. Raises ModelError."""
    if not takes_one(load_model):
        raise ModelError(
            f"{model_path} defines load_model{signature(load_model)}, and it is called with the "
            "path of the weights alone\n    define load_model(weight_path); other arguments need "
            "default values"
        )
    try:
        return load_model(weight_path)
    except (ModelError, ConfigError, MemoryError):
        raise
    except Exception as error:
        needed = "give the file with its weights, --convnet-weight-path (-w)"
        way = cure(error) or (_mended(error) if weight_path else needed)
        what = f"load_model({weight_path!r}) of {model_path} fails{fault(error, model_path)}"
        raise ModelError(f"{what}\n    {way}") from error


def _mended(error: BaseException) -> str:
    if "loading state_dict" in str(error):
        return (
            "assign the net to InstantiatedModel, without load_model: its weights are then found "
            "in the file"
        )
    return "mend the file"


def _has_random_weights(source: ModuleType, module: Any, model_path: str) -> bool:
    """Whether a file that is run again, with other random numbers, makes other weights.

    Not if it trains or loads the net itself, or sets the seed.
    """
    torch = needs("torch", extra="torch")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            again = source if hasattr(source, "load_model") else load_source(model_path)
            other = _module(again, model_path, None).state_dict()
    except ChunkflowError:
        return False
    return any(
        name not in other or not _equal(value, other[name])
        for name, value in module.state_dict().items()
    )


def _equal(value: Any, other: Any) -> bool:
    torch = needs("torch", extra="torch")
    if isinstance(value, torch.nn.parameter.UninitializedTensorMixin):
        return False
    return bool(torch.equal(value, other)) if isinstance(value, torch.Tensor) else True


def _from_script(model_path: str) -> Net:
    torch = needs("torch", extra="torch")
    with warnings.catch_warnings():
        # torch plans to drop TorchScript; these files run until then.
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        module = torch.jit.load(model_path, map_location="cpu").eval()
    return Net(module, path=model_path, is_python=False)


def _from_export(model_path: str) -> Net:
    torch = needs("torch", extra="torch")
    program = torch.export.load(model_path)
    inputs = set(program.graph_signature.user_inputs)
    first = next(
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs
    )
    batch = first.meta["val"].shape[0]
    fixed = batch if isinstance(batch, int) else None
    return Net(program.module(), batch=fixed, path=model_path, is_python=False)
