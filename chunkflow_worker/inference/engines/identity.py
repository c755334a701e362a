"""The identity engine: returns its input, to try a chain and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from chunkflow_worker.inference.engine import EngineClass, EngineSpec
from chunkflow_worker.inference.host_engine import HostEngine

FRAMEWORKS = {"identity": "returns its input, to try a chain"}
NEEDS_MODEL = False


class IdentityEngine(HostEngine):
    """Returns the middle of the input patch; its channels are repeated for the output's.

    If torch is installed, torch blends the patches on the CPU, about twice as fast as numpy.
    """

    def __init__(self, spec: EngineSpec):
        super().__init__(spec.most_channels)
        self._crop = (spec.input_size - spec.output_size) // 2
        if find_spec("torch"):
            from chunkflow_worker.inference.torch_net.arrays import TorchArrays

            self.arrays = TorchArrays("cpu")

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        z, y, x = (slice(c, -c or None) for c in self._crop)
        inputs = [self.arrays.unit_range(patch[:, z, y, x]) for patch in patches]
        return [
            self.arrays.channels(patch, [c % len(patch) for c in range(self.channels)])
            for patch in inputs
        ]


ENGINE: EngineClass = IdentityEngine
