"""multiply"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.pipeline.converter import note_clipped
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk


class Multiply(Operator):
    """Multiply chunks by another chunk, voxel by voxel, for example by a mask of 0 and 1.

    Ids of a segmentation are not multiplied: they stay where the other chunk is not 0, and become 0
    elsewhere, whatever its type. So does an image whose multiplier is a segmentation. The input is
    kept and the multiplier is the mask, except if only the multiplier is of 32 or 64 bits: then the
    input is the mask. If the values contradict this, the task fails.

    For images, the product has the type of the input, or the multiplier's if that holds more.
    Integers saturate, so a mask of 0 and 255 must first become one of 0 and 1, by threshold. A mask
    times a float map is a float map. A multiplier without channels is used for all channels.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = r"""
        chunkflow load-h5 -f em.h5 \
            load-h5 -f inside.h5 -o inside \
            multiply -i chunk -m inside \
            save-h5 -f masked.h5
    """
    differs: ClassVar[str] = (
        "Ids are never multiplied, so they stay exact whatever the mask's type. Integers saturate; "
        "chunkflow let them wrap around. A float map keeps its type."
    )
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
                task.values[target] = self._product(task, chunk, factor)

        yield step

    def _product(self, task: Task, chunk: Chunk, factor: Chunk) -> Chunk:
        """At the position of `chunk`, and of its shape."""
        import numpy as np

        if chunk.is_segmentation or factor.is_segmentation:
            data, mask = _data_and_mask(chunk, factor)
            kept = np.where(mask.czyx != 0, data.czyx, data.dtype.type(0))
            return data.with_array(kept.reshape(chunk.array.shape))
        product, clipped = _product(chunk.czyx, factor.czyx)
        if product.dtype.kind in "ui":
            why = (
                f"{chunk.dtype} times {factor.dtype} does not fit {product.dtype}; if one of them "
                "is a mask, threshold makes it 0 and 1"
            )
            note_clipped(task, Clipped(self.label, clipped, product.size), why)
        return chunk.with_array(product.reshape(chunk.array.shape))


def _data_and_mask(chunk: Chunk, factor: Chunk) -> tuple[Chunk, Chunk]:
    """The chunk to keep, and the one that is a mask; one of the two is a segmentation.

    The types alone decide, so that all boxes of a job agree.
    Raises ChunkMismatch if the values suggest the other order, since ids would get lost.
    """
    wide = factor.dtype.kind in "ui" and factor.dtype.itemsize >= 4
    only_factor = factor.is_segmentation and not chunk.is_segmentation
    if only_factor and (wide or chunk.dtype == bool):
        data, mask = factor, chunk
        is_doubtful = not _is_mask(chunk.array)
    else:
        data, mask = chunk, factor
        is_doubtful = (
            factor.is_segmentation
            and _is_mask(chunk.array)
            and bool(chunk.array.any())
            and not _is_mask(factor.array)
        )
    if is_doubtful:
        raise ChunkMismatch(
            "which of the two is a mask can't be told: make it one of 0 and 1 by threshold, and "
            "give it as the multiplier"
        )
    return data, mask


def _is_mask(array: NDArray[Any]) -> bool:
    """Whether there is at most one value besides 0."""
    first = None
    for part in array:
        values = part[part != 0]
        if values.size:
            first = values[0] if first is None else first
            if (values != first).any():
                return False
    return True


def _product(array: NDArray[Any], factor: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The product, and the number of its values that saturated."""
    import numpy as np

    dtype = _type_of_product(array.dtype, factor.dtype)
    if dtype.kind not in "ui":
        with np.errstate(over="ignore", invalid="ignore"):
            return (array * factor).astype(dtype, copy=False), 0
    with np.errstate(over="ignore"):
        product = array.astype(dtype, copy=False) * factor.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    ends = [
        int(a) * int(b) for a in (array.min(), array.max()) for b in (factor.min(), factor.max())
    ]
    if limits.min <= min(ends) and max(ends) <= limits.max:
        return product, 0
    # The product of integers wraps around by multiples of 2**bits; that of floats is nearly right.
    real = np.multiply(array, factor, dtype=np.float64)
    wrapped = np.abs(product - real) > 2.0 ** (limits.bits - 1)
    product[wrapped] = np.where(real[wrapped] > 0, limits.max, limits.min)
    return product, int(np.count_nonzero(wrapped))


def _type_of_product(array: np.dtype[Any], factor: np.dtype[Any]) -> np.dtype[Any]:
    import numpy as np

    if array.kind != "f" and factor.kind == "f":
        return np.result_type(array, factor)
    return factor if array.kind != "f" and np.can_cast(array, factor) else array
