"""`Codec`: the voxels of a block as the bytes of its level's encoding, by CloudVolume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.volumes.precomputed.block_header import BESIDE, check_block_content
from chunkflow_worker.volumes.precomputed.decoder import FRAGILE, decode_apart
from chunkflow_worker.volumes.precomputed.encoding import LOSSLESS, content_type


class Codec:
    """The encoding of a level. Several threads may use it.

    volume: a CloudVolume. mip: the level.
    """

    def __init__(self, volume: Any, mip: int):
        meta = volume.meta
        self.encoding: str = meta.encoding(mip)
        self.dtype, self.channels = np.dtype(volume.dtype), int(volume.num_channels)
        self.lossless, self.content_type = self.encoding in LOSSLESS, content_type(self.encoding)
        self._block_size = meta.compressed_segmentation_block_size(mip)
        self._params = meta.compression_params(mip)

    def encode(self, czyx: NDArray[Any]) -> bytes:
        """The bytes of a block."""
        from cloudvolume import chunks

        content: bytes = chunks.encode(
            czyx.transpose(),
            self.encoding,
            block_size=self._block_size,
            compression_params=self._params,
        )
        return content

    def decode(self, content: bytes, size: Vec3) -> NDArray[Any]:
        """The voxels, czyx, of a block of `size`. Raises ValueError for one that is not of it."""
        from cloudvolume import chunks

        shape = (*size[::-1], self.channels)
        if not content:
            raise ValueError("it is empty")
        try:
            check_block_content(content, self.encoding, shape, self.dtype, self._block_size)
            if self.encoding in FRAGILE:
                xyzc = decode_apart(content, self.encoding, shape, self.dtype)
            else:
                xyzc = chunks.decode(
                    content, self.encoding, shape, self.dtype, block_size=self._block_size
                )
        except (MemoryError, ValueError):
            raise
        except Exception as error:  # each library has its own
            raise ValueError(str(error) or type(error).__name__) from error
        return np.asarray(xyzc).transpose()

    def most_bytes(self, size: Vec3) -> int:
        """Bytes that a block of `size` may have, not compressed. Noise may grow when encoded."""
        voxels: int = size.product * self.channels * self.dtype.itemsize
        return voxels if self.encoding == "raw" else 2 * voxels + BESIDE
