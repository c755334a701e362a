"""Read the task's box from an MRC file, as electron tomographs write it. Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow generate-tasks -b 0-64_0-512_0-512 plugin -f examples/plugins/load_mrc -i bbox -o chunk -a "path=em.mrc" ...

Only the box is read, not what later operators need around it: put it before save-precomputed or save-zarr, and filter what these
have written.
"""

from __future__ import annotations

import mrcfile
import numpy as np

from chunkflow_worker.errors import BoxOutsideVolume, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import Chunk


def execute(bbox: BoundingBox | None, path: str, unsigned: bool = False) -> Chunk:
    """unsigned: take 8-bit values for 0 to 255, as programs wrote them before the format told; it says -128 to 127."""
    try:
        with mrcfile.mmap(path) as file:
            bounds = BoundingBox.sized(
                (0, 0, 0), file.data.shape if file.data.ndim == 3 else (1, *file.data.shape)
            )
            box = bounds if bbox is None else bbox.clip(bounds)
            if box is None:
                raise BoxOutsideVolume(f"box {bbox} lies outside {path}, which is {bounds}")
            array = np.array(file.data.reshape(bounds.size)[box.slices(bounds.start)]).astype(
                file.data.dtype.newbyteorder("=")
            )
            z, y, x = (float(file.voxel_size[axis]) / 10 for axis in "zyx")  # from Angstrom
    except (OSError, ValueError) as error:
        raise DataMissing(f"{path} cannot be read as MRC: {error}") from error
    if unsigned and array.dtype == np.int8:
        array = array.view(np.uint8)
    return Chunk(array, box.start, (z or 1.0, y or 1.0, x or 1.0), bounds=bounds)
