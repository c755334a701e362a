"""Shards, read by TensorStore, and by CloudVolume's reader."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import tensorstore
from cloudvolume import CloudVolume
from cloudvolume.datasource.precomputed.sharding import ShardingSpecification, ShardReader
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.errors import Mistake
from chunkflow_worker.volumes.precomputed.reading import check_sharding
from chunkflow_worker.volumes.shards import Shards

EDGES = (1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
ids = st.sampled_from(EDGES) | st.integers(1, 2**64 - 1)
few = settings(max_examples=25, deadline=None)


def shards_of(count: int, size: int = 0, shard_size: int = 10**9, encoding: Any = "gzip") -> Shards:
    return Shards.for_objects(count, size, shard_size, encoding)


def write(folder: Path, shards: Shards, objects: dict[int, tuple[bytes, bytes]]) -> None:
    for number in range(shards.count):
        own = {i: content for i, content in objects.items() if shards.number_of(i) == number}
        if own:
            (folder / f"{shards.name(number)}.shard").write_bytes(shards.pack(own))


def opened(folder: Path, shards: Shards) -> Any:
    return tensorstore.KvStore.open(
        {
            "driver": "neuroglancer_uint64_sharded",
            "base": f"file://{folder}/",
            "metadata": dict(shards.sharding),
        }
    ).result()


def read(store: Any, object_id: int) -> bytes | None:
    found = store.read(struct.pack(">Q", object_id)).result()
    return bytes(found.value) if found.state == "value" else None


@few
@given(
    objects=st.dictionaries(ids, st.binary(max_size=40), min_size=1, max_size=30),
    shard_size=st.integers(1, 2000),
)
def test_tensorstore_reads_every_object_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, objects: dict[int, bytes], shard_size: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    shards = shards_of(len(objects), sum(map(len, objects.values())), shard_size)
    write(folder, shards, {i: (b"", content) for i, content in objects.items()})
    store = opened(folder, shards)
    assert {i: read(store, i) for i in objects} == objects
    assert sorted(struct.unpack(">Q", key)[0] for key in store.list().result()) == sorted(objects)
    absent = next(i for i in range(1, 100) if i not in objects)
    assert read(store, absent) is None


@few
@given(
    objects=st.dictionaries(
        ids, st.tuples(st.binary(max_size=40), st.binary(min_size=1, max_size=9)), min_size=1
    ),
    minishard_bits=st.integers(0, 3),
)
def test_what_lies_before_an_object_ends_where_the_index_says_that_the_object_begins(
    tmp_path_factory: pytest.TempPathFactory,
    objects: dict[int, tuple[bytes, bytes]],
    minishard_bits: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    made = shards_of(len(objects), encoding="raw")
    shards = Shards({**made.sharding, "minishard_bits": minishard_bits})
    write(folder, shards, objects)
    store = opened(folder, shards)
    assert {i: read(store, i) for i in objects} == {i: value for i, (_, value) in objects.items()}
    volume = CloudVolume(
        f"file://{folder}",
        info=CloudVolume.create_new_info(
            1, "segmentation", "uint64", "raw", (1, 1, 1), (0, 0, 0), (1, 1, 1)
        ),
        progress=False,
    )
    spec = ShardingSpecification.from_dict(dict(shards.sharding))
    reader = ShardReader(f"file://{folder}", volume.cache, spec)
    for object_id, (before, value) in objects.items():
        name, start, size = reader.exists(object_id, return_byte_range=True)
        content = (folder / name).read_bytes()
        assert content[start - len(before) : start] == before
        assert content[start : start + size] == value


def test_the_same_objects_in_any_order_are_the_same_bytes() -> None:
    shards = shards_of(100)
    objects = {i: (b"", str(i).encode()) for i in range(1, 101)}
    turned = dict(reversed(objects.items()))
    assert list(turned) != list(objects)
    assert shards.pack(turned) == shards.pack(objects)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (1, 1, 1),
        (1, 10**12, 1),  # one object is in one shard, however large
        (5, 10**12, 4),
        (10**4, 3 * 10**9, 4),
        (10**6, 10**11, 128),
        (10**8, 10**13, 8192),
        (10**8, 10**9, 256),  # tiny objects: the indices of fewer shards would be too large
    ],
)
def test_the_number_of_shards_follows_from_objects_and_bytes(
    count: int, size: int, expected: int
) -> None:
    assert shards_of(count, size).count == expected


@few
@given(count=st.integers(1, 10**10), size=st.integers(0, 10**16))
def test_the_indices_can_be_read_at_once(count: int, size: int) -> None:
    shards = shards_of(count, size)
    try:
        check_sharding(shards.sharding)
    except Mistake as mistake:
        pytest.fail(f"our own reader refuses it: {mistake.problem}")
    minishards = 2 ** shards.sharding["minishard_bits"]
    assert 16 * minishards <= 2**13
    per_minishard = count / (shards.count * minishards)
    # One shard bit less is taken where shards would be filled to 0.55 or less.
    assert 24 * per_minishard <= 1.11 * 2**15


def test_names_have_as_many_digits_as_the_last_one(tmp_path: Path) -> None:
    one, many = shards_of(1), shards_of(10**5, 300 * 10**9)
    assert (one.count, one.name(0)) == (1, "0")
    assert (many.count, many.name(0), many.name(255)) == (256, "00", "ff")
    write(tmp_path, one, {5: (b"", b"five")})
    assert read(opened(tmp_path, one), 5) == b"five"
