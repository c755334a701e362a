"""`HostEngine`: the base of engines that take and return numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkflowError, ModelError
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.engine import Answers, EngineSpec
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.user_code import cure, fault
from chunkflow_worker.machine.cpu import cpu_name


class HostEngine:
    """What engines whose patches are numpy arrays have in common; `predict` is theirs to add.

    channels: number of output channels.
    """

    precision = "float32"

    def __init__(self, channels: int):
        self.channels = channels
        self.device = self.device_name()
        self.arrays: Arrays = HostArrays()

    @classmethod
    def device_name(cls) -> str:
        return cpu_name()

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError

    def answers(self, spec: EngineSpec) -> Answers:
        """Runs the net on a whole patch."""
        shape = (spec.input_channels, *spec.input_size)
        noise = np.random.default_rng(0).random(shape, np.float32)
        try:
            first, second = (
                np.asarray(self.predict([self.arrays.put(noise.copy())])[0]).copy()
                for _ in range(2)
            )
        except (ChunkflowError, MemoryError):
            raise
        except Exception as error:
            path = spec.model_path
            raise ModelError(
                f"the net fails on a patch of noise, {list(shape)} (czyx){fault(error, path)}"
                f"\n    {cure(error) or f'mend it in {path}'}"
            ) from error
        return Answers(first, second)

    def memory_peak(self) -> int:
        return 0

    def overflowed(self) -> bool:
        return False

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return 1


def in_batches(
    patches: NDArray[Any], size: int, run: Callable[[NDArray[Any]], NDArray[Any]]
) -> list[NDArray[Any]]:
    """Run patches, nczyx, by a function that takes exactly `size` of them. One output per patch.

    The last batch is filled up with zeros, whose outputs are dropped.
    """
    outputs: list[NDArray[Any]] = []
    for i in range(0, len(patches), size):
        part = patches[i : i + size]
        missing = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        batch = np.concatenate([part, missing]) if len(missing) else part
        outputs.extend(run(batch)[: len(part)])
    return outputs
