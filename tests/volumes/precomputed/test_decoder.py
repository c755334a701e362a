"""Blocks that are decoded in a process of their own."""

from __future__ import annotations

import numpy as np
import pytest
from cloudvolume import chunks

from chunkflow_worker.volumes.precomputed.decoder import FRAGILE, decode_apart

XYZC = np.asfortranarray(np.random.default_rng(0).integers(0, 9, (16, 12, 8, 1)))


def encoded(encoding: str) -> tuple[np.ndarray, bytes]:
    voxels = XYZC.astype("f4" if encoding in ("fpzip", "kempressed") else "u4")
    return voxels, bytes(chunks.encode(voxels, encoding))


@pytest.mark.parametrize("encoding", FRAGILE)
def test_blocks_are_those_that_the_library_decodes(encoding: str) -> None:
    voxels, content = encoded(encoding)
    for _ in range(2):
        found = decode_apart(content, encoding, voxels.shape, voxels.dtype)
        assert found.dtype == voxels.dtype
        assert np.allclose(found, voxels, atol=1e-6)


def test_a_block_that_ends_the_decoder_is_damaged_and_the_next_is_decoded() -> None:
    voxels, content = encoded("compresso")
    damaged = content[:12] + b"\0" * 3 + content[15:]  # its steps are 0, by which it divides
    with pytest.raises(ValueError, match="it ends the decoder of compresso"):
        decode_apart(damaged, "compresso", voxels.shape, voxels.dtype)
    assert np.array_equal(decode_apart(content, "compresso", voxels.shape, "u4"), voxels)


@pytest.mark.parametrize("encoding", FRAGILE)
def test_what_is_no_block_is_a_value_error(encoding: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode_apart(b"no block", encoding, XYZC.shape, "u4")
