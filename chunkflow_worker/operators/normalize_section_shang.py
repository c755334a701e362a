"""normalize-section-shang"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NormalizeSectionShang(Operator):
    """Map the greys of each section linearly to the range from --nominalmin to --nominalmax.

    Takes numbers of any type, zyx or czyx (each channel on its own), and makes float32. The
    smallest and the largest value of a section count as invalid (missing image, saturation). The
    next values inside become the ends of the range, so invalid voxels get values outside the range
    unless --clipvalues true. If fewer than two values lie between the extremes, the extremes
    themselves become the ends; a section of one value becomes --nominalmin. NaN stays NaN, and
    infinity is ignored.

    The smallest and the largest value are taken from the chunk with its margins, not from the whole
    section, so neighbouring boxes are mapped differently.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = (
        "chunkflow load-tif -f em.tif normalize-section-shang --nominalmax 1 save-h5 -f normal.h5"
    )
    differs: ClassVar[str] = (
        "The defaults work. The chunk keeps its position. A section with a single grey between its "
        "extremes is not divided by zero."
    )
    op: Literal["normalize-section-shang"] = "normalize-section-shang"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")
    nominalmin: float | None = field(
        None, allow_inf_nan=False, help="Lowest value of the range; default: 0."
    )
    nominalmax: float | None = field(
        None,
        allow_inf_nan=False,
        help="Highest value of the range; default: the largest value of an integer chunk's type.",
    )
    clipvalues: bool = field(False, valued=True, help="Clip the invalid voxels to the range.")

    @model_validator(mode="after")
    def _range(self) -> NormalizeSectionShang:
        if self.nominalmax is not None and self._low >= self.nominalmax:
            raise ValueError(
                f"nominalmin {self._low:g} must be below nominalmax {self.nominalmax:g}"
            )
        return self

    @property
    def _low(self) -> float:
        return self.nominalmin or 0.0

    @property
    def output_type(self) -> str:
        return "float32"

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        def step(task: Task) -> None:
            chunk = task.image(self.input_chunk_name)
            low, high = self._low, self._high(chunk.dtype)
            result = np.empty(chunk.czyx.shape, np.float32)
            for channel, mapped in zip(chunk.czyx, result, strict=True):
                for z, section in enumerate(channel):
                    first, last = _valid_range(section)
                    if first == last:
                        mapped[z] = np.where(section == first, low, section)
                        continue
                    scaled = (section.astype(np.float64) - first) * (
                        (high - low) / (last - first)
                    ) + low
                    mapped[z] = np.clip(scaled, low, high) if self.clipvalues else scaled
            task.values[self.output_chunk_name] = chunk.with_array(
                result.reshape(chunk.array.shape)
            )

        yield step

    def _high(self, dtype: Any) -> float:
        """Greatest value of the range. Raises ChunkMismatch if the chunk's type determines none."""
        import numpy as np

        if dtype.kind not in "uif":
            raise ChunkMismatch(f"takes numbers, and {self.input_chunk_name!r} is {dtype}")
        if self.nominalmax is not None:
            return self.nominalmax
        if dtype.kind == "f":
            raise ChunkMismatch(
                f"{self.input_chunk_name!r} is {dtype}, which has no greatest grey: give "
                "--nominalmax"
            )
        high = float(np.iinfo(dtype).max)
        if self._low >= high:
            raise ChunkMismatch(
                f"nominalmin {self._low:g} must be below {high:g}, the greatest of {dtype}: give "
                "--nominalmax"
            )
        return high


def _valid_range(section: NDArray[Any]) -> tuple[float, float]:
    """Least and greatest value between the section's extremes; the extremes if there are no two."""
    import numpy as np

    values = section[np.isfinite(section)]
    if not values.size:
        return 0.0, 0.0
    least, greatest = values.min(), values.max()
    inside = values[(values != least) & (values != greatest)]
    if inside.size and inside.min() < inside.max():
        least, greatest = inside.min(), inside.max()
    return float(least), float(greatest)
