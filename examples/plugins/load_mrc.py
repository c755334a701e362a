"""Read the task's box from an MRC file, the format of electron tomography.

Needs `pip install "chunkflow-worker[plugins]"`.

    chunkflow generate-tasks -b 0-64_0-512_0-512 \\
        plugin -f examples/plugins/load_mrc -i bbox -o chunk -a "path=em.mrc" ...

Only the box is read, without the voxels that later operators need around it. So save the image as
a volume first (save-precomputed, save-zarr), and run filters on that volume.
"""

from __future__ import annotations

import mrcfile
import numpy as np

from chunkflow_worker.api import BoundingBox, BoxOutsideVolume, Chunk, DataMissing


def execute(bbox: BoundingBox | None, path: str, unsigned: bool = False) -> Chunk:
    """Return the part of the box that lies inside the file; the whole image when there is no box.

    unsigned: read 8-bit values as 0 to 255. The format says -128 to 127, but older programs wrote
        them unsigned.
    """
    try:
        with mrcfile.mmap(path) as file:
            image = file.data if file.data.ndim == 3 else file.data[np.newaxis]
            bounds = BoundingBox.sized((0, 0, 0), image.shape)
            box = bounds if bbox is None else bbox.clip(bounds)
            if box is None:
                raise BoxOutsideVolume(f"box {bbox} is outside {path}, which is {bounds}")
            voxels = np.array(image[box.slices(bounds.start)])
            z, y, x = (float(file.voxel_size[axis]) / 10 for axis in "zyx")  # from Angstrom
    except (OSError, ValueError) as error:
        raise DataMissing(f"{path} cannot be read as MRC: {error}") from error
    array = voxels.astype(voxels.dtype.newbyteorder("="))
    if unsigned and array.dtype == np.int8:
        array = array.view(np.uint8)
    return Chunk(array, box.start, (z or 1.0, y or 1.0, x or 1.0), bounds=bounds)
