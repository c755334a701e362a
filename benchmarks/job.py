"""What all programs of a benchmark compute.

Imports only numpy, because the environments of other programs import it too.
"""

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

    model: Python file with `InstantiatedModel`; empty for the identity, without a net.
    acceleration: that of our program.
    precision: that of our program, and of the net that our engine runs; `plain` is the net as torch
        runs it by default.
    dtype: of our program's output.
    warm_up: what runs once before the timed runs.
    box: of a task of a chain. volumes: folder of its volumes `in` and `out`.
    output: file for the result of the first run, to compare programs; empty for none.
    """

    chunk: Size
    patch: Size = (20, 256, 256)
    overlap: Size = (4, 64, 64)
    channels: int = 3
    model: str = ""
    precision: str = "float32"
    acceleration: str = "auto"
    dtype: str = "float32"
    warm_up: Literal["patch", "chunk", "none"] = "chunk"
    box: Size = (0, 0, 0)
    volumes: str = ""
    output: str = ""

    @property
    def voxels(self) -> int:
        return self.chunk[0] * self.chunk[1] * self.chunk[2]

    @property
    def patches(self) -> int:
        return len(list(self.windows()))

    @property
    def fits(self) -> bool:
        """Whether whole patches fill the chunk, so that no patch must be moved inward.

        If they fit, our program and chunkflow run with the defaults of their command lines: they
        crop the overlap at the edge of the chunk. If not, chunkflow needs --mask-output-chunk, and
        our program gets it too. The patches are the same.
        """
        return all(
            (c - p) % (p - o) == 0
            for c, p, o in zip(self.chunk, self.patch, self.overlap, strict=True)
        )

    def windows(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield the patches: one per stride; the last one of an axis ends where the chunk ends."""
        axes = []
        for chunk, patch, overlap in zip(self.chunk, self.patch, self.overlap, strict=True):
            starts = range(0, chunk - overlap, patch - overlap)
            axes.append([slice(s, s + patch) for s in (min(s, chunk - patch) for s in starts)])
        z, y, x = axes
        yield from itertools.product(z, y, x)

    def image(self, size: Size | None = None) -> NDArray[np.uint8]:
        """Return noise, the same for all. No voxel is zero: some programs skip patches of zeros."""
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
