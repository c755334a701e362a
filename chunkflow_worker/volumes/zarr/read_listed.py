"""`read_listed`: reads many small objects of S3 by tensorstore, with a tenth of boto3's work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chunkflow_worker.errors import BlockDamaged
from chunkflow_worker.storage.s3_listing import Listed
from chunkflow_worker.volumes.zarr.store import open_store, store_errors

_BYTES = 1 << 26  # that are read, and held in memory, at the same time


def read_listed(place: str, objects: Iterable[Listed]) -> Iterator[tuple[str, bytes]]:
    """The objects below a path as they were listed; those that have changed since are left out.

    No more is read of an object than the listing says. Raises StorageUnavailable.
    """
    for group in _groups(objects):
        with store_errors(place):
            store = open_store(place)
            reads = [(one, store.read(one.name, byte_range=slice(0, one.size))) for one in group]
        for one, read in reads:
            try:
                with store_errors(place):
                    answer = read.result()
            except BlockDamaged:  # tensorstore says so of an object that is shorter now
                continue
            if answer.state == "value" and answer.stamp.generation.endswith(one.tag.encode()):
                yield one.name, bytes(answer.value)


def _groups(objects: Iterable[Listed]) -> Iterator[list[Listed]]:
    group, size = list[Listed](), 0
    for one in objects:
        group.append(one)
        size += one.size
        if size > _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
