"""The ONNX engine: a net in an .onnx file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError, OutOfMemory
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import HostEngine, check_input, checked, in_batches, middle
from chunkflow_worker.inference.host_arrays import unit_range

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxEngine(HostEngine):
    """Runs on the first GPU where onnxruntime-gpu is installed, else on the CPU, in the precision that the file is in.

    The net has one input, nczyx; its first output is taken. A fixed batch size in the file is kept to.
    """

    def __init__(
        self,
        model_path: str,
        channels: int,
        input_size: Vec3,
        output_size: Vec3,
        input_channels: int = 1,
    ):
        super().__init__(channels)
        runtime = needs("onnxruntime", extra="onnx")
        if not Path(model_path).is_file():
            raise ConfigError.one(
                "net",
                "convnet_model",
                f"{model_path} is not a file",
                "give the path of an .onnx file",
            )
        usable = [
            p
            for p in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if p in runtime.get_available_providers()
        ]
        try:
            self._session = runtime.InferenceSession(model_path, providers=usable)
        except Exception as error:
            raise ModelError(
                f"loading {model_path} fails: {str(error).partition(chr(10))[0]}"
            ) from error
        self._output_size = output_size
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            given = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ModelError(
                f"{model_path} takes ({given}); a net with one floating point input nczyx is needed"
            )
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        shape = inputs[0].shape
        check_input(f"{model_path} takes", shape, input_channels, input_size)
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self.precision = np.dtype(self._type).name
        if self._session.get_providers()[0] == "CUDAExecutionProvider":
            self.device = "CUDA by onnxruntime"

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
        return checked(
            middle(output, batch.shape[2:], self._output_size),
            self.channels,
            self._output_size,
            "the net",
        )
