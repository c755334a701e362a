"""multiply"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Multiply(Operator):
    """Multiply chunks by another chunk, voxel by voxel, for example by a mask of 0 and 1.

    Each product keeps the type of its input; integers saturate. A multiplier without channels is
    used for all channels.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = r"""
        chunkflow load-h5 -f em.h5 \
            load-h5 -f inside.h5 -o inside \
            multiply -i chunk -m inside \
            save-h5 -f masked.h5
    """
    op: Literal["multiply"] = "multiply"
    input_names: str = field("chunk", flag="-i", help="Chunks to multiply, separated by commas.")
    output_names: str | None = field(
        None,
        flag="-o",
        help="Chunks to make, separated by commas; default: the input's names.",
    )
    multiplier_name: str = field(flag="-m", help="Chunk to multiply by.")

    def reads(self) -> tuple[str, ...]:
        return (*super().reads(), self.multiplier_name)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        inputs, outputs = (
            split_names(self.input_names),
            split_names(self.output_names or self.input_names),
        )
        if len(inputs) != len(outputs):
            given = f"{len(inputs)} input_names and {len(outputs)} output_names"
            raise ConfigError.one(
                self.label, "output_names", f"there are {given}", "give equally many"
            )

        def step(task: Task) -> None:
            factor = task.chunk(self.multiplier_name)
            for source, target in zip(inputs, outputs, strict=True):
                chunk, _ = task.chunks_of_one_box(source, self.multiplier_name)
                if factor.channels not in (1, chunk.channels):
                    raise ChunkMismatch(
                        f"{source!r} has {chunk.channels} channels, and {self.multiplier_name!r} "
                        f"has {factor.channels}: "
                        "it must have as many, or one"
                    )
                product = _product(chunk.czyx, factor.czyx).reshape(chunk.array.shape)
                task.values[target] = chunk.with_array(product)

        yield step


def _product(array: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
    """`array` times `factor`, in the type of `array`. Integers saturate; 64-bit ids stay exact."""
    import numpy as np

    if array.dtype == bool:
        return _product(array.view(np.uint8), factor) > 0
    if array.dtype.kind == "f":
        return (array * factor.astype(np.float64)).astype(array.dtype)
    limits = np.iinfo(array.dtype)
    if array.dtype.kind == "u" and factor.dtype.kind in "bu":
        wide, times = array.astype(np.uint64), factor.astype(np.uint64)
        largest = np.uint64(limits.max) // np.maximum(times, np.uint64(1))
        return np.where(wide > largest, np.uint64(limits.max), wide * times).astype(array.dtype)
    real = np.nan_to_num(np.rint(array * factor.astype(np.float64)))
    inside = (real > limits.min) & (real < limits.max)
    ends = np.where(real <= limits.min, array.dtype.type(limits.min), array.dtype.type(limits.max))
    return np.where(inside, np.where(inside, real, 0).astype(array.dtype), ends)
