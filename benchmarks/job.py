"""What all programs of a benchmark compute. Imports nothing but numpy, since peers' environments read it too."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Job:
    """Sizes are zyx.

    model: Python file with `InstantiatedModel`; no net, the identity, when empty.
    acceleration: of ours.
    precision: of ours, and of the net as our engine runs it; `plain` is the net as torch runs it by default.
    dtype: of the output of ours.
    warm_up: what runs once before anything is timed.
    output: file for the first run's result, for comparing programs; none when empty.
    """

    chunk: Size
    patch: Size = (20, 256, 256)
    overlap: Size = (4, 64, 64)
    channels: int = 3
    model: str = ""
    precision: str = "float32"
    acceleration: str = "none"
    dtype: str = "float32"
    warm_up: Literal["patch", "chunk", "none"] = "chunk"
    output: str = ""

    @property
    def voxels(self) -> int:
        return self.chunk[0] * self.chunk[1] * self.chunk[2]

    @property
    def patches(self) -> int:
        return len(list(self.windows()))

    @property
    def fits(self) -> bool:
        """Whether whole patches fill the chunk, so that none must be moved inward at its end.

        Then both ours and chunkflow run as their command lines do unless told otherwise: the overlap at the chunk's rim is
        cut off. Where they do not fit chunkflow needs --mask-output-chunk, and ours gets it too. The patches are the same.
        """
        return all(
            (c - p) % (p - o) == 0
            for c, p, o in zip(self.chunk, self.patch, self.overlap, strict=True)
        )

    def windows(self) -> Iterator[tuple[slice, slice, slice]]:
        """The patches: at the stride from the chunk's start; the last of an axis ends at the chunk's end."""
        axes = []
        for chunk, patch, overlap in zip(self.chunk, self.patch, self.overlap, strict=True):
            starts = range(0, chunk - overlap, patch - overlap)
            axes.append([slice(s, s + patch) for s in (min(s, chunk - patch) for s in starts)])
        z, y, x = axes
        yield from itertools.product(z, y, x)

    def image(self, size: Size | None = None) -> NDArray[np.uint8]:
        """The same noise for all; no voxel is zero, since some programs leave out patches of zeros."""
        return np.random.default_rng(5).integers(1, 256, size or self.chunk, np.uint8)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Job:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()
        }
        return cls(**values)


MODELS = Path(__file__).parent
NET = str(MODELS / "net.py")
TINY_NET = str(MODELS / "tiny_net.py")
