"""`Engine`: what computes patches; `Arrays`: where they live. And the identity engine, for trying chains and for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.bbox import Vec3
from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.cpu import cpu_name
from chunkflow_worker.inference.host import HostArrays

LARGEST = float(np.finfo(np.float32).max)
"""What infinite outputs are taken for: the mean of infinity and infinity, as it is computed, is not a number."""


class Arrays(Protocol):
    """The memory of a device. Its arrays are indexed, and changed in place, as numpy's are."""

    def put(self, array: NDArray[Any]) -> Any:
        """Bring an array to the device; one that is there already is not copied."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """An array of zeros, float32."""

    def unit_range(self, array: Any) -> Any:
        """Integers divided by their type's largest value, floats as they are; as float32."""

    def channels(self, array: Any, which: list[int]) -> Any:
        """These channels of an array czyx; a view where it has one channel only."""

    def share(self, result: NDArray[Any]) -> Any | None:
        """`result` as an array of the device, when it can be blended into as it is; else None."""

    def place(self, values: Any, mean: Any) -> None:
        """Copy the first patch at a place, czyx, into the mean."""

    def blend(self, mean: Any, total: Any, values: Any | None, weights: Any) -> None:
        """Take one patch into a weighted mean, in place.

        mean: czyx, of the patches so far. total: zyx, the sum of their weights. values: the patch, czyx; None for zeros.
        weights: of the patch, zyx.

        The mean moves towards the value by the patch's share of all weights: mean += (value - mean) x weight / total. So the
        weights of all patches sum to one, and patches that agree at a voxel give their value to the last bit.
        """

    def send(self, slab: Any, out: NDArray[Any]) -> Callable[[], None]:
        """Start to bring `slab` into `out` on the host, converted as `chunk.convert` does; the result waits for its end.

        `slab` may be changed at once.
        """


class Engine(Protocol):
    """
    device: name of the CPU or GPU.
    precision: of the arithmetic, for example float32.
    channels: number of output channels.
    arrays: where it takes patches from and leaves them.
    """

    device: str
    precision: str
    channels: int
    arrays: Arrays

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        """Run patches, czyx each, in one batch; returns their output patches, czyx, float32, none of them infinite.

        Integer patches are scaled to [0, 1] by their type's largest value first. Raises OutOfMemory, ModelError.
        """

    def overflowed(self) -> bool:
        """True once when a value was too large for the precision that the engine had chosen.

        It has gone over to one that holds them, and the patches must run again.
        """

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        """How many patches of that shape, czyx, to run at once for full speed within the free memory."""


class HostEngine:
    """The part of an engine that leaves its patches in numpy arrays."""

    precision = "float32"

    def __init__(self, channels: int):
        self.channels = channels
        self.device = cpu_name()
        self.arrays: Arrays = HostArrays()

    def overflowed(self) -> bool:
        return False

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return 1


class IdentityEngine(HostEngine):
    """Returns the middle of the input patch, repeated over the output channels.

    With torch installed its patches are blended by torch on the CPU, at about twice numpy's speed.
    """

    def __init__(self, channels: int, crop: Vec3):
        super().__init__(channels)
        self._crop = crop
        if find_spec("torch"):
            from chunkflow_worker.inference.torch_arrays import TorchArrays

            self.arrays = TorchArrays("cpu")

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        z, y, x = (slice(c, -c or None) for c in self._crop)
        inputs = (self.arrays.unit_range(patch[:, z, y, x]) for patch in patches)
        return [self.arrays.channels(patch, [c % len(patch) for c in range(self.channels)]) for patch in inputs]


def in_batches(patches: NDArray[Any], size: int, run: Callable[[NDArray[Any]], NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of patches nczyx by a `run` that takes just `size` of them; the last are filled up with zeros."""
    outputs: list[NDArray[Any]] = []
    for i in range(0, len(patches), size):
        part = patches[i : i + size]
        missing = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        outputs.extend(run(np.concatenate([part, missing]) if len(missing) else part)[: len(part)])
    return outputs


def check_input(source: str, taken: Sequence[Any], input_channels: int, size: Vec3) -> None:
    """Raises ModelError unless a net that takes the shape `taken` (nczyx; what is not a number is free) takes such patches."""
    wanted = (input_channels, *size)
    if len(taken) != 5 or any(isinstance(n, int) and n != w for n, w in zip(taken[1:], wanted, strict=True)):
        declared = f"[n, {', '.join(map(str, wanted))}]"
        raise ModelError(f"{source} input {list(taken)} (nczyx); the options declare {declared}")


def middle(output: Any, input_size: Sequence[int], output_size: Vec3) -> Any:
    """Of an output nczyx as large as the input, which nets with padding return, the middle of the output's size; any other as
    it is.
    """
    if tuple(output.shape[-3:]) != tuple(input_size):
        return output
    z, y, x = (slice((n - m) // 2, (n + m) // 2) for n, m in zip(input_size, output_size, strict=True))
    return output[..., z, y, x]


def checked(output: Any, channels: int, size: Vec3, source: str) -> NDArray[np.float32]:
    """Output patches nczyx of `size` with the first `channels` channels, as float32, infinite values as `LARGEST`. Raises
    ModelError when they are not.
    """
    array = np.asarray(output)
    if array.ndim != 5 or array.shape[2:] != tuple(size) or array.shape[1] < channels:
        raise ModelError(
            f"{source} returned shape {list(array.shape)} (n, channels, z, y, x); the options declare at least {channels} "
            f"channels of {list(size)}"
        )
    return np.clip(array[:, :channels].astype(np.float32, copy=False), -LARGEST, LARGEST)
