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

    If one of the two is a segmentation, the other one is a mask of any type: ids stay where it is
    not 0, and become 0 elsewhere. If both could be ids, for example integers of 64 bits, the input
    holds them and the multiplier is the mask.

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
            ids, mask = _ids_and_mask(chunk, factor)
            kept = np.where(mask.czyx != 0, ids.czyx, ids.dtype.type(0))
            return ids.with_array(kept.reshape(chunk.array.shape), layer_type="segmentation")
        product, clipped = _product(chunk.czyx, factor.czyx)
        if product.dtype.kind in "ui":
            why = (
                f"{chunk.dtype} times {factor.dtype} does not fit {product.dtype}; if one of them "
                "is a mask, threshold makes it 0 and 1"
            )
            note_clipped(task, Clipped(self.label, clipped, product.size), why)
        return chunk.with_array(product.reshape(chunk.array.shape))


def _ids_and_mask(chunk: Chunk, factor: Chunk) -> tuple[Chunk, Chunk]:
    """The chunk that holds ids, and the one that is a mask.

    Raises ChunkMismatch if both could hold ids, and their values suggest that the first is a mask.
    """
    mine, theirs = chunk.is_segmentation, factor.is_segmentation
    if mine and theirs:
        mine, theirs = (c.layer_type == "segmentation" for c in (chunk, factor))
    if mine != theirs:
        return (chunk, factor) if mine else (factor, chunk)
    if _has_one_value(chunk.array) and not 0 <= factor.array.min() <= factor.array.max() <= 1:
        raise ChunkMismatch(
            "both chunks could hold ids: make the one that is a mask 0 and 1 by threshold, or load "
            "it with --layer-type image"
        )
    return chunk, factor


def _has_one_value(array: NDArray[Any]) -> bool:
    """Whether there is one value besides 0."""
    value = array.max() or array.min()
    return bool(value) and bool(((array == value) | (array == 0)).all())


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
