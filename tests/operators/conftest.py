"""Volumes for the operators that read and write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.storage.precomputed import PrecomputedVolume
from chunkflow_worker.storage.precomputed_info import create_volume


@pytest.fixture
def volume(tmp_path: Path) -> Callable[..., PrecomputedVolume]:
    """Create a volume in the folder of the test: `volume(name, array or box, **options)`."""

    def make(
        name: str, content: Any, offset: tuple[int, int, int] = (0, 0, 0), **options: Any
    ) -> PrecomputedVolume:
        array = content if isinstance(content, np.ndarray) else None
        bounds = content if array is None else BoundingBox.sized(offset, array.shape)
        defaults = {
            "voxel_size": (40, 8, 8),
            "block_size": Vec3(8, 16, 16),
            "dtype": str(array.dtype) if array is not None else "",
        }
        path = f"file://{tmp_path}/{name}"
        create_volume(path, bounds=bounds, **(defaults | options))
        opened = PrecomputedVolume(path)
        if array is not None:
            opened.write(bounds, array)
        return opened

    return make
