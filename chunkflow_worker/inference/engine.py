"""`Engine`: what computes patches, on its own device; and the identity engine for trying chains and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.bbox import Vec3


class Engine(Protocol):
    """Arrays that an engine hands out live on its device; the blending indexes them and adds them up in place.

    device: name of the CPU or GPU.
    channels: number of output channels.
    precision: type in which patches are added up. In float64, patches that agree at a voxel give just their value as
        float32, so an output does not depend on how many patches there were; GPUs add up in float32, 1e-7 less exact.
    """

    device: str
    channels: int
    precision: DTypeLike

    def put(self, array: NDArray[Any]) -> Any:
        """Bring an array to the device."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """An array of zeros on the device, of its `precision`."""

    def predict(self, patches: list[Any]) -> Any:
        """Run patches, czyx each, in one batch; returns n output patches, nczyx, float32.

        Integer patches are scaled to [0, 1] by their type's largest value first.
        """

    def fetch(self, array: Any, dtype: DTypeLike) -> NDArray[Any]:
        """Bring an array back to the host as `dtype`."""


class HostEngine:
    """The part of an engine that computes in numpy on the host."""

    precision: DTypeLike = np.float64

    def __init__(self, channels: int):
        self.channels = channels
        self.device = cpu_name()

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def zeros(self, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.zeros(shape, self.precision)

    def fetch(self, array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        return array.astype(dtype, copy=False)


class IdentityEngine(HostEngine):
    """Returns the middle of the input patch, repeated over the output channels."""

    def __init__(self, channels: int, crop: Vec3):
        super().__init__(channels)
        self._crop = crop

    def predict(self, patches: list[Any]) -> NDArray[np.float32]:
        z, y, x = (slice(c, -c or None) for c in self._crop)
        batch = np.stack([unit_range(patch[:, z, y, x]) for patch in patches])
        repeats = -(-self.channels // batch.shape[1])
        return np.tile(batch, (1, repeats, 1, 1, 1))[:, : self.channels]


def unit_range(array: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by their type's largest value; floats as they are; as float32."""
    if array.dtype.kind in "ui":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array.astype(np.float32, copy=False)


def cpu_name() -> str:
    """Model name of the processor, as the system tells it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
