"""gzip by ISA-L: what it writes and reads, beside Python's."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.storage.gzipped import crc32, gunzipped, gzipped

CONTENT = bytes(range(256)) * 40


@given(content=st.binary(max_size=5000), level=st.integers(1, 9))
def test_python_reads_what_is_written(content: bytes, level: int) -> None:
    packed = gzipped(memoryview(content), level)
    assert gzip.decompress(packed) == content == gunzipped(packed, len(content))
    assert crc32(content) == zlib.crc32(content)


@given(members=st.lists(st.binary(max_size=500), min_size=1, max_size=4), level=st.integers(0, 9))
def test_all_members_that_python_writes_are_read(members: list[bytes], level: int) -> None:
    packed = b"".join(gzip.compress(member, level) for member in members)
    assert gunzipped(packed + bytes(7), 4000) == b"".join(members)


@pytest.mark.parametrize("level", [1, 9])
def test_higher_levels_are_smaller(level: int) -> None:
    assert len(gzipped(CONTENT, level)) < len(CONTENT) / 20
    assert len(gzipped(CONTENT, 9)) <= len(gzipped(CONTENT, 1))


@pytest.mark.parametrize("most", [0, 1, 100, 10_239])
def test_no_more_is_unpacked_than_is_asked_and_one(most: int) -> None:
    bomb = gzip.compress(CONTENT) + gzip.compress(bytes(10**7))
    assert len(gunzipped(bomb, most)) == most + 1
    assert len(gunzipped(bomb, 10**6)) == 10**6 + 1


@pytest.mark.parametrize("length", [1, 9, 10, 30, -1])
def test_a_missing_end_is_told(length: int) -> None:
    with pytest.raises(EOFError, match="its end is missing"):
        gunzipped(gzip.compress(CONTENT)[:length], 10**6)


@pytest.mark.parametrize("damaged", [b"no gzip at all", gzip.compress(CONTENT) + b"more of it"])
def test_what_is_no_gzip_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="it is no gzip, or damaged"):
        gunzipped(damaged, 10**6)


def test_a_damaged_checksum_is_found() -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        gunzipped(bytes(packed), 10**6)
