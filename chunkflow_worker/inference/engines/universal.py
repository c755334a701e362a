"""The universal engine: a Python file of the user's whose class does everything for one patch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import HostEngine, checked
from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.model_file import load_source


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
            raise ModelError(
                f"PatchInferencer of {model_path} can't be built: {type(error).__name__}: {error}"
            ) from error
        with suppress(Exception):  # as where it names a GPU that is not there
            self.device = str(self._inferencer.compute_device)
        self._output_size = output_size

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        # A copy, which it may change: what is a float already lies in the image itself.
        outputs = (self._inferencer(np.array(unit_range(patch)[np.newaxis])) for patch in patches)
        return [
            checked(output, self.channels, self._output_size, "PatchInferencer")[0]
            for output in outputs
        ]
