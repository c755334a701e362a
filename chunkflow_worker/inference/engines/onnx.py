"""The ONNX engine: a net in an .onnx file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError, OutOfMemory
from chunkflow_worker.inference.engine import EngineClass, EngineSpec
from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.host_engine import HostEngine, in_batches
from chunkflow_worker.inference.net_shapes import check_input, checked_output, middle

FRAMEWORKS = {"onnx": "an .onnx file, with onnxruntime"}

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxEngine(HostEngine):
    """Runs on the first GPU if onnxruntime-gpu is installed, else on the CPU.

    The net has one input, nczyx; its first output is returned. Precision and a fixed batch size
    are those of the file.
    """

    def __init__(self, spec: EngineSpec):
        super().__init__(spec.channels)
        self._spec, path = spec, spec.model_path
        self._session = _session(path)
        if self._session.get_providers()[0] == "CUDAExecutionProvider":
            self.device = "CUDA by onnxruntime"
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            given = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ModelError(
                f"{path} takes ({given}); a net with one floating point input nczyx is needed"
            )
        shape = inputs[0].shape
        check_input(f"{path} takes", shape, spec)
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self.precision = np.dtype(self._type).name

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._batch or 1

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        batch = np.stack([unit_range(patch) for patch in patches]).astype(self._type, copy=False)
        return in_batches(batch, self._batch or len(batch), self._run)

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        try:
            output = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            reason = str(error).partition("\n")[0]
            if "allocate memory" in reason:
                raise OutOfMemory(reason) from error
            raise ModelError(
                f"the net fails on input {list(batch.shape)} (nczyx): {reason}"
            ) from error
        kept = middle(output, batch.shape[2:], self._spec.output_size)
        return checked_output(kept, self._spec, "the net")


def _session(path: str) -> Any:
    """The net of an .onnx file, loaded. Raises ConfigError and ModelError."""
    runtime = needs("onnxruntime", extra="onnx")
    if not Path(path).is_file():
        raise ConfigError.one(
            "net", "convnet_model", f"{path} is not a file", "give the path of an .onnx file"
        )
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    usable = [name for name in wanted if name in runtime.get_available_providers()]
    try:
        return runtime.InferenceSession(path, providers=usable)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"loading {path} fails: {reason}") from error


ENGINE: EngineClass = OnnxEngine
