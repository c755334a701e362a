"""The universal engine: a user's Python file, whose class does everything for one patch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.engine import EngineClass, EngineSpec
from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.inference.model_file import load_source
from chunkflow_worker.inference.net_shapes import checked_output
from chunkflow_worker.inference.user_code import cure, fault

FRAMEWORKS = {"universal": "the class PatchInferencer of a Python file"}
# First, because it was the only framework by default in chunkflow: such files may also define
# functions with the names that other frameworks look for.
READS = {"defines": ("PatchInferencer",), "first": True}


class UniversalEngine(HostEngine):
    """Calls ``PatchInferencer(weight_path, output_patch_mask)`` of the model file.

    It is called with one patch, nczyx, at a time, and returns the output patch, nczyx, multiplied
    by the mask. The mask is all ones here, since blending multiplies by the weights itself. If it
    has an attribute `compute_device`, that is the name of the device.
    """

    def __init__(self, spec: EngineSpec):
        super().__init__(spec.most_channels)
        self._spec, path = spec, spec.model_path
        source = load_source(path)
        if not hasattr(source, "PatchInferencer"):
            raise ModelError(f"{path} does not define the class PatchInferencer")
        mask = np.ones(spec.output_size, np.float32)
        try:
            self._inferencer = source.PatchInferencer(spec.weight_path, mask)
        except Exception as error:
            hint = "mend it" if spec.weight_path else "no --convnet-weight-path (-w) was given"
            raise ModelError(
                f"PatchInferencer of {path} fails{fault(error, path)}\n    {cure(error) or hint}"
            ) from error
        with suppress(Exception):  # some files ask for the name of a GPU, which raises without one
            self.device = str(self._inferencer.compute_device)

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        return [self._run(patch) for patch in patches]

    def _run(self, patch: NDArray[Any]) -> NDArray[np.float32]:
        scaled = unit_range(patch)
        if scaled is patch:  # a view of the image, and the file may change its input
            scaled = scaled.copy()
        name = "PatchInferencer"
        outputs = checked_output(self._inferencer(scaled[np.newaxis]), self._spec, name, name)
        output: NDArray[np.float32] = outputs[0]
        return output


ENGINE: EngineClass = UniversalEngine
