"""The universal engine: a Python file of the user's whose class does everything for one patch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.bbox import Vec3
from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.engine import HostEngine, unit_range
from chunkflow_worker.inference.torch_engine import load_source


class UniversalEngine(HostEngine):
    """Calls ``PatchInferencer(weight_path, output_patch_mask)`` of the model file with one patch, nczyx, at a time.

    It returns the output patch, nczyx, already multiplied by the mask it was built with. Ours is all ones, since the
    blending weights the patch itself. Its `compute_device`, where it has one, names the device.
    """

    def __init__(self, model_path: str, weight_path: str | None, channels: int, output_size: Vec3):
        super().__init__(channels)
        source = load_source(model_path)
        if not hasattr(source, "PatchInferencer"):
            raise ModelError(f"{model_path} does not define the class PatchInferencer")
        try:
            self._inferencer = source.PatchInferencer(weight_path, np.ones(output_size, np.float32))
        except Exception as error:
            raise ModelError(f"PatchInferencer of {model_path} can't be built: {type(error).__name__}: {error}") from error
        self.device = str(getattr(self._inferencer, "compute_device", self.device))
        self._output_size = output_size
        self._lock = threading.Lock()

    def predict(self, patches: list[Any]) -> NDArray[np.float32]:
        with self._lock:
            outputs = [np.asarray(self._inferencer(unit_range(patch)[np.newaxis])) for patch in patches]
        for output in outputs:
            if output.ndim != 5 or output.shape[2:] != tuple(self._output_size) or output.shape[1] < self.channels:
                raise ModelError(
                    f"PatchInferencer returned shape {list(output.shape)}; the options declare (1, {self.channels}, "
                    f"{', '.join(map(str, self._output_size))})"
                )
        return np.concatenate(outputs)[:, : self.channels].astype(np.float32, copy=False)
