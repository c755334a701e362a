"""Blocks that say that they are of another size, or point beyond their end."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from cloudvolume import chunks

from chunkflow_worker.errors import BlockDamaged
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.block_header import check_block_content
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

SHAPE = (16, 12, 8, 1)
DTYPES = {
    "png": "u1", "jpeg": "u1", "jxl": "u1", "npz": "u2", "compressed_segmentation": "u8",
    "compresso": "u4", "crackle": "u4",
}  # fmt: skip


def block(encoding: str, shape: tuple[int, ...] = SHAPE) -> bytes:
    voxels = np.random.default_rng(0).integers(0, 40, shape).astype(DTYPES[encoding])
    return bytes(chunks.encode(np.asfortranarray(voxels), encoding, block_size=(8, 8, 8)))


@pytest.mark.parametrize("dtype", ["u2", "f4", "u8"])
def test_a_raw_block_of_another_type_says_how_many_bytes_it_has(dtype: str) -> None:
    content = bytes(16 * 12 * 8)
    check_block_content(content, "raw", SHAPE, "u1", None)
    size = len(content) * np.dtype(dtype).itemsize
    with pytest.raises(ValueError, match=f"has 1536 bytes, and 16x12x8x1 voxels .* take {size}$"):
        check_block_content(content, "raw", SHAPE, dtype, None)


@pytest.mark.parametrize("encoding", ["npz", "npz_uint8"])
def test_a_block_that_is_not_compressed_says_so(encoding: str) -> None:
    with pytest.raises(ValueError, match="not compressed as npz is"):
        check_block_content(bytes(16 * 12 * 8), encoding, SHAPE, "u1", None)


@pytest.mark.parametrize("encoding", DTYPES)
def test_a_block_of_another_size_is_refused(encoding: str) -> None:
    check_block_content(block(encoding), encoding, SHAPE, DTYPES[encoding], (8, 8, 8))
    larger, small = block(encoding, (160, 120, 80, 1)), (4, 4, 4, 1)
    content = block(encoding) if encoding == "compressed_segmentation" else larger
    wanted = (512, 512, 512, 1) if encoding == "compressed_segmentation" else small
    with pytest.raises(ValueError, match=r"size|pixels|unpacks|its end"):
        check_block_content(content, encoding, wanted, DTYPES[encoding], (8, 8, 8))
    for length in (0, 7, 20):
        with pytest.raises((ValueError, struct.error)):
            check_block_content(content[:length], encoding, SHAPE, DTYPES[encoding], (8, 8, 8))


def test_a_block_of_zfpc_says_its_size() -> None:
    """github.com/seung-lab/zfpc: a magic word, a version, a type, then the size."""
    head = b"zfpc" + struct.pack("<BB4I", 0, 3, *SHAPE)
    check_block_content(head, "zfpc", SHAPE, "f4", None)
    with pytest.raises(ValueError, match="it says that its size is"):
        check_block_content(head, "zfpc", (16, 12, 9, 1), "f4", None)


@pytest.mark.parametrize("word", range(1, 5))
@pytest.mark.parametrize("number", [0xFFFFFFFF, 0x00FFFFFF, 0x20FFFFF0])
def test_a_segmentation_that_points_beyond_its_end_is_refused(word: int, number: int) -> None:
    content = bytearray(block("compressed_segmentation"))
    content[4 * word : 4 * word + 4] = struct.pack("<I", number)
    with pytest.raises(ValueError, match=r"its end|number of bits"):
        check_block_content(bytes(content), "compressed_segmentation", SHAPE, "u8", (8, 8, 8))


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_a_block_that_unpacks_to_more_than_a_block_is_damaged(
    tmp_path: Path, encoding: str
) -> None:
    box, path = BoundingBox.sized((0, 0, 0), (8, 16, 16)), f"file://{tmp_path}/seg"
    create_volume(
        path, bounds=box, voxel_size=(40, 4, 4), block_size=Vec3(8, 16, 16), dtype="uint32",
        encoding=encoding,
    )  # fmt: skip
    volume = PrecomputedVolume(path, compression=Compression("gzip"))
    volume.write(box, np.ones(box.size, np.uint32))
    (file,) = (tmp_path / "seg" / "4_4_40").iterdir()
    file.write_bytes(gzip.compress(bytes(100 << 20)))
    with pytest.raises(BlockDamaged, match="unpacks to 100 MiB or more"):
        volume.read(box)
