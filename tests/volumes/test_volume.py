"""What every stored image has: blocks, alignment and checksums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.errors import BoxNotAligned
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.volume import blocks_of, check_aligned, checksum
from tests.support.sample import BLOCK, BOUNDS


class Volume:
    path, bounds, block_size = "v", BOUNDS, BLOCK


@given(st.data())
def test_blocks_cover_a_box_once(data: st.DataObject) -> None:
    counts = -(-BOUNDS.size // BLOCK)
    low = Vec3.of(data.draw(st.integers(0, n - 1)) for n in counts)
    high = Vec3.of(data.draw(st.integers(a + 1, n)) for a, n in zip(low, counts, strict=True))
    box = BoundingBox(BOUNDS.start + low * BLOCK, (BOUNDS.start + high * BLOCK).min(BOUNDS.stop))
    covered = np.zeros(box.size, int)
    for block in blocks_of(Volume(), box):
        covered[block.slices(box.start)] += 1
    assert (covered == 1).all()


@given(st.data())
def test_a_box_is_aligned_when_and_only_when_no_block_crosses_its_faces(
    data: st.DataObject,
) -> None:
    start = [
        data.draw(st.integers(a, b - 1)) for a, b in zip(BOUNDS.start, BOUNDS.stop, strict=True)
    ]
    stop = [data.draw(st.integers(a + 1, b)) for a, b in zip(start, BOUNDS.stop, strict=True)]
    box = BoundingBox(Vec3(*start), Vec3(*stop))
    blocks = [b for b in BOUNDS.split(BLOCK) if b.clip(box)]
    if all(box.contains(b) for b in blocks):
        check_aligned(Volume(), box)
    else:
        with pytest.raises(BoxNotAligned) as caught:
            check_aligned(Volume(), box)
        nearest = BoundingBox.parse(str(caught.value).split("whole blocks is ")[1].split(" ")[0])
        check_aligned(Volume(), nearest)
        assert nearest.contains(box)


def test_checksums_are_those_of_the_values_in_c_order() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert checksum(array) == checksum(np.asfortranarray(array)) == checksum(array.copy())
    assert checksum(array) != checksum(array.transpose())
    check_value_of_crc_32 = "cbf43926"
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == check_value_of_crc_32
