"""`Engine`: what computes patches, and what engines of several frameworks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.machine.cpu import cpu_name

LARGEST = float(np.finfo(np.float32).max)
"""What infinite outputs are taken for: the mean of infinity and infinity, as it is computed, is not a number."""


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


def in_batches(
    patches: NDArray[Any], size: int, run: Callable[[NDArray[Any]], NDArray[Any]]
) -> list[NDArray[Any]]:
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
    if len(taken) != 5 or any(
        isinstance(n, int) and n != w for n, w in zip(taken[1:], wanted, strict=True)
    ):
        declared = f"[n, {', '.join(map(str, wanted))}]"
        raise ModelError(f"{source} input {list(taken)} (nczyx); the options declare {declared}")


def middle(output: Any, input_size: Sequence[int], output_size: Vec3) -> Any:
    """Of an output nczyx as large as the input, which nets with padding return, the middle of the output's size; any other as
    it is.
    """
    if tuple(output.shape[-3:]) != tuple(input_size):
        return output
    z, y, x = (
        slice((n - m) // 2, (n + m) // 2) for n, m in zip(input_size, output_size, strict=True)
    )
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
