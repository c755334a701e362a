"""The identity engine, for trying chains and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import HostEngine


class IdentityEngine(HostEngine):
    """Returns the middle of the input patch, repeated over the output channels.

    With torch installed its patches are blended by torch on the CPU, at about twice numpy's speed.
    """

    def __init__(self, channels: int, crop: Vec3):
        super().__init__(channels)
        self._crop = crop
        if find_spec("torch"):
            from chunkflow_worker.inference.torch_net.arrays import TorchArrays

            self.arrays = TorchArrays("cpu")

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        z, y, x = (slice(c, -c or None) for c in self._crop)
        inputs = (self.arrays.unit_range(patch[:, z, y, x]) for patch in patches)
        return [
            self.arrays.channels(patch, [c % len(patch) for c in range(self.channels)])
            for patch in inputs
        ]
