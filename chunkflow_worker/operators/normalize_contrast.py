"""normalize-contrast"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NormalizeContrast(Operator):
    """Stretch the greys of each section, or of the whole chunk, to the range --minval to --maxval.

    Takes uint8 or uint16 and makes uint8, zyx or czyx; each channel is stretched on its own. The
    darkest and the brightest voxels, up to the clip fractions, become the ends of the range; the
    greys between are stretched evenly. Voxels of 0 count as missing image: they are ignored and
    stay 0. A section with a single grey is not stretched.

    The histogram is taken from the chunk with its margins, not from the whole section, so
    neighbouring boxes are stretched differently; the smaller the boxes, the larger the difference.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = (
        "chunkflow load-tif -f em.tif normalize-contrast -l 0.01 -u 0.02 save-tif -f stretched.tif"
    )
    differs: ClassVar[str] = (
        "--whole has an effect. --per-section does not stretch the whole chunk once more. Zeros "
        "do not become --minval. A fraction of 0 clips nothing. uint16 is taken, too. The kept "
        "greys are spread over --minval to --maxval; chunkflow spread them over 0 to --maxval, "
        "raised what was below --minval, and took both limits one grey lower."
    )
    replaces: ClassVar[Mapping[str, str]] = {
        "normalize-section-contrast, normalize-contrast-nkem": (
            "`normalize-contrast` takes the histograms from the chunk, and no file with levels"
        ),
    }
    stretches: ClassVar[bool] = True
    op: Literal["normalize-contrast"] = "normalize-contrast"
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")
    lower_clip_fraction: float = field(
        0.01, flag="-l", ge=0, lt=1, help="Share of the darkest voxels that may become --minval."
    )
    upper_clip_fraction: float = field(
        0.01, flag="-u", ge=0, lt=1, help="Share of the brightest voxels that may become --maxval."
    )
    minval: int = field(1, ge=0, le=255, help="Grey of the darkest voxels except those of 0.")
    maxval: int = field(255, ge=0, le=255, help="Grey of the brightest voxels.")
    per_section: bool = field(
        True,
        off="--whole",
        help="Stretch each section by its own greys, or the whole chunk at once.",
    )

    @model_validator(mode="after")
    def _ranges(self) -> NormalizeContrast:
        if self.minval >= self.maxval:
            raise ValueError(f"minval {self.minval} must be below maxval {self.maxval}")
        if self.lower_clip_fraction + self.upper_clip_fraction >= 1:
            raise ValueError(
                f"lower_clip_fraction {self.lower_clip_fraction} and upper_clip_fraction "
                f"{self.upper_clip_fraction} leave nothing"
            )
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.dtype not in (np.uint8, np.uint16):
                raise ChunkMismatch(
                    f"takes grey values of type uint8 or uint16, and {self.input_chunk_name!r} is "
                    f"{chunk.dtype}"
                )
            chunk = task.image(self.input_chunk_name)
            count = np.iinfo(chunk.dtype).max + 1
            result = np.empty_like(chunk.czyx, np.uint8)
            for channel, stretched in zip(chunk.czyx, result, strict=True):
                histograms = np.stack(
                    [np.bincount(section.ravel(), minlength=count) for section in channel]
                )
                if not self.per_section:
                    histograms[:] = histograms.sum(axis=0)
                for z, histogram in enumerate(histograms):
                    stretched[z] = self._table(histogram)[channel[z]]
            task.values[self.output_chunk_name] = chunk.with_array(
                result.reshape(chunk.array.shape)
            )

        yield step

    def _table(self, histogram: NDArray[Any]) -> NDArray[Any]:
        """The new grey for each of the old greys."""
        import numpy as np

        greys = np.arange(histogram.size)
        counts = histogram * (greys > 0)
        below, above = (
            np.cumsum(counts),
            np.cumsum(counts[::-1])[::-1],
        )  # voxels up to a grey, and from it on
        kept = greys[
            (below > self.lower_clip_fraction * counts.sum())
            & (above > self.upper_clip_fraction * counts.sum())
        ]
        if kept.size < 2:
            return (greys * 256 // greys.size).astype(np.uint8)
        table = np.rint(np.interp(greys, [kept[0], kept[-1]], [self.minval, self.maxval])).astype(
            np.uint8
        )
        table[0] = 0
        return table
