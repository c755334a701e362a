"""`Shards`: many small objects in few files, in the format neuroglancer_uint64_sharded_v1.

A shard begins with the places of its minishards' indices. An index holds the ids of the objects of
a minishard, with the place and size of each. A reader takes three parts of a file: the beginning,
one index, one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

TYPE = "neuroglancer_uint64_sharded_v1"


@dataclass(frozen=True)
class Shards:
    """How objects are spread over shards. The id of an object alone says which shard holds it.

    sharding: what an info says of it under that name; a dictionary in the form of the format.
    """

    sharding: Mapping[str, Any]

    @classmethod
    def for_objects(
        cls, count: int, size: int, shard_size: int, encoding: Literal["raw", "gzip"]
    ) -> Shards:
        """Choose the numbers of shards and minishards as igneous does, by CloudVolume's function.

        Ids are hashed (murmurhash3_x86_128), so that shards are equally full however ids were
        given. `compute_shard_params_for_hashed` of CloudVolume keeps both indices small enough to
        be read at once on a connection of 100 Mbit/s: 8 KiB for the beginning of a shard (512
        minishards of 16 bytes), 32 KiB for the index of a minishard (1,365 objects of 24 bytes).
        That alone would put 700,000 objects into a shard. A task holds its shard in memory, so
        there are at least as many shards as keep them near `shard_size`. Numbers are powers of two,
        so shards have between 0.7 and 1.4 times that size.

        count: of objects, at least 1. size: of all objects, in bytes. shard_size: in bytes.
        encoding: of each object; raw for those that are already compressed.
        """
        from cloudvolume.datasource.precomputed.sharding import compute_shard_params_for_hashed

        fewest = min(max(-(-size // shard_size), 1), count)
        shard_bits, minishard_bits, preshift_bits = compute_shard_params_for_hashed(
            count, min_shards=fewest
        )
        return cls(
            {
                "@type": TYPE,
                "hash": "murmurhash3_x86_128",
                "preshift_bits": preshift_bits,
                "minishard_bits": minishard_bits,
                "shard_bits": shard_bits,
                "minishard_index_encoding": "gzip",
                "data_encoding": encoding,
            }
        )

    @property
    def count(self) -> int:
        """The number of shards; one without objects is not stored."""
        return 1 << int(self.sharding["shard_bits"])

    def name(self, number: int) -> str:
        """The name of a shard's file without .shard: hexadecimal, of as many digits as the last."""
        digits = -(-int(self.sharding["shard_bits"]) // 4)
        return f"{number:0{digits}x}"

    def number_of(self, object_id: int) -> int:
        """The number of the shard that holds an object."""
        return int(self._specification.compute_shard_location(object_id).shard_number, 16)

    def pack(self, objects: Mapping[int, tuple[bytes, bytes]]) -> bytes:
        """The content of one shard.

        objects: by id, all of this shard: bytes that lie before the object, and the object itself.
            The index tells readers of the second only; the pieces of a mesh are the first, and are
            found by its manifest. With gzip, the first are empty.
        """
        return bytes(
            self._specification.synthesize_shard(
                {object_id: b"".join(parts) for object_id, parts in sorted(objects.items())},
                data_offset=self._sizes(objects),
            )
        )

    def _sizes(self, objects: Mapping[int, tuple[bytes, bytes]]) -> dict[int, int] | None:
        """The size of each object as it is stored; None if nothing lies before any of them."""
        if not any(before for before, _ in objects.values()):
            return None
        return {object_id: len(content) for object_id, (_, content) in objects.items()}

    @cached_property
    def _specification(self) -> Any:
        from cloudvolume.datasource.precomputed.sharding import ShardingSpecification

        return ShardingSpecification.from_dict(dict(self.sharding))
