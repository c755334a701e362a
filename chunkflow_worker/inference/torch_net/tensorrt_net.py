"""`by_tensorrt`: a net of PyTorch that TensorRT runs on an NVIDIA GPU; its output stays the same.

The net travels as ONNX, and onnxruntime gives it to TensorRT. Building an engine takes minutes, so
engines are kept on disk, by net, size of the patch, precision and GPU.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import install_line, needs
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.inference.same_output import Unsuited
from chunkflow_worker.inference.torch_net.conversion import (
    check_outputs,
    checked,
    compare_on,
    converting,
    example_of,
    exported,
    is_float32,
    torch,
)
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial

log = logging.getLogger(__name__)

PROVIDER = "TensorrtExecutionProvider"
_OTHERS = ("CUDAExecutionProvider",)  # for operations that TensorRT does not know
_TYPES = {"float16": {"trt_fp16_enable": "1"}, "bfloat16": {"trt_bf16_enable": "1"}}
_WORKSPACE = 8 << 30  # bytes, of the GPU, while an engine is built


class TensorrtNet:
    """A net that TensorRT runs for inputs of one shape. Other inputs are run by torch, in float32.

    session: of onnxruntime. structure: of what the net returns, which may be several tensors.
    device: of inputs and outputs.

    The next call overwrites the output.
    """

    def __init__(
        self, module: Any, session: Any, shape: tuple[int, ...], structure: Any, device: Any
    ):
        self._module, self._session, self._structure = module, session, structure
        self._input, self._shape = session.get_inputs()[0].name, shape
        self._outputs = {
            output.name: torch.empty(tuple(output.shape), dtype=torch.float32, device=device)
            for output in session.get_outputs()
        }

    def __call__(self, inputs: Any) -> Any:
        if not is_float32(inputs) or tuple(inputs.shape) != self._shape:
            return self._module(inputs)
        given = inputs.contiguous()
        place = given.device.type, given.device.index or 0
        binding = self._session.io_binding()
        binding.bind_input(self._input, *place, np.float32, self._shape, given.data_ptr())
        for name, output in self._outputs.items():
            shape = tuple(output.shape)
            binding.bind_output(name, *place, np.float32, shape, output.data_ptr())
        if given.device.type == "cuda":  # the session has a stream of its own
            torch.cuda.current_stream().synchronize()
        self._session.run_with_iobinding(binding)
        return torch.utils._pytree.tree_unflatten(list(self._outputs.values()), self._structure)


def by_tensorrt(
    trial: Trial, shape: tuple[int, ...], precision: str, fallback: bool
) -> tuple[TensorrtNet, str]:
    """The net of a trial for patches, one at a time, and its precision.

    shape: of a patch, nczyx with n = 1.
    fallback: whether it may run in float32 if its output in `precision` is wrong.

    Raises Unsuited.
    """
    runtime, alone = _runtime(), trial.alone()
    with torch.inference_mode(False), torch.no_grad():
        patch = torch.zeros(shape, device=trial.noise.device)
        made = _converted(alone.net, patch)
        whole = alone.resized(shape)
        return checked(lambda chosen: _checked(runtime, made, whole, chosen), precision, fallback)


@dataclass(frozen=True)
class _Converted:
    """A net as an ONNX model, for inputs of one shape."""

    module: Any
    model: bytes
    structure: Any
    shape: tuple[int, ...]


def _runtime() -> Any:
    """onnxruntime with TensorRT. Raises Unsuited."""
    if not torch.cuda.is_available():
        raise Unsuited("it needs an NVIDIA GPU")
    try:
        needs("onnxscript", extra="tensorrt")  # by which torch writes ONNX
        runtime = needs("onnxruntime", extra="onnx")
    except ConfigError as error:
        (fault,) = error.faults
        raise Unsuited(f"{fault.place} is not installed: {fault.cure}") from None
    if PROVIDER not in runtime.get_available_providers():
        raise Unsuited(
            "this onnxruntime is built without TensorRT: pip uninstall onnxruntime; "
            + install_line("tensorrt")
        )
    return runtime


def _converted(net: Net, patches: Any) -> _Converted:
    """Raises Unsuited."""
    example = example_of(net, patches)
    if isinstance(net.module, torch.jit.ScriptModule):
        raise Unsuited("it is TorchScript, which can't be written as ONNX: save it by torch.export")
    with converting("ONNX"):
        program = exported(net.module, example)
        written = torch.onnx.export(program, (example,), dynamo=True, verbose=False)
    model = written.model_proto
    structure = program.call_spec.out_spec
    check_outputs(len(model.graph.input), len(model.graph.output), structure)
    return _Converted(net.module, model.SerializeToString(), structure, tuple(example.shape))


def _checked(runtime: Any, made: _Converted, trial: Trial, precision: str) -> TensorrtNet:
    """The net in that precision; its output for a whole patch of noise is right.

    Raises Unsuited.
    """
    session = _session(runtime, made.model, precision)
    run = TensorrtNet(made.module, session, made.shape, made.structure, trial.noise.device)
    compare_on(trial, run, precision, "TensorRT")
    return run


def _session(runtime: Any, model: bytes, precision: str) -> Any:
    """A session that runs the model. Other processes of this machine wait while one builds it."""
    options: dict[str, str] = {
        "trt_max_workspace_size": str(_WORKSPACE),
        **_TYPES.get(precision, {}),
    }
    with _kept_engine(model, precision) as folder, converting("TensorRT"):
        if folder is not None:
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(folder.parent),
            }
        wanted = [(PROVIDER, options), *_OTHERS]
        session = runtime.InferenceSession(model, providers=wanted)
    if session.get_providers()[0] != PROVIDER:
        raise Unsuited("TensorRT's libraries can't be loaded; the log of onnxruntime says why")
    return session


@contextmanager
def _kept_engine(model: bytes, precision: str) -> Iterator[Path | None]:
    """The folder that keeps the engines of a net for this GPU; nobody else uses it meanwhile.

    None if it can't be written.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    digest = hashlib.sha256(model).hexdigest()[:16]
    folder = root / "chunkflow" / "tensorrt" / _file_name(f"{digest}-{precision}-{gpu}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        log.warning("TensorRT's engine is built at each start, since it can't be kept: %s", error)
        yield None
        return
    with lock:  # closing it gives it free
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)
