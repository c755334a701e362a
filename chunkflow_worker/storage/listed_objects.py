"""`ListedObjects`: sizes and times of many objects, by a listing and not by a request for each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.storage.files import Files, Stored
from chunkflow_worker.storage.s3_listing import Listed
from chunkflow_worker.storage.written_file import iso_time

MOST = 20_000_000  # objects that are held in memory; of more, storage is asked one by one
_AT_ONCE = 16  # requests
_ROW = np.dtype([("name", np.int64), ("size", np.int64), ("time", np.int64)])


class ListedObjects:
    """What `Files.stored` tells of the objects below a path, listed when it is first asked.

    prefixes: beginnings of all their names, which are listed at the same time.
    The memory is 24 bytes for each object; names are held as hashes of 64 bits. Times are whole
    seconds, as those of `Files.stored` are. Several threads may use it. Of too many objects,
    storage is asked for each.
    """

    def __init__(self, path: str, prefixes: Iterable[str] = ("",)):
        self._files, self._prefixes = Files(path), list(prefixes)
        self._lock = threading.Lock()
        self._rows: NDArray[np.void] | None = None
        self._is_usable = True

    def stored(self, names: Iterable[str]) -> dict[str, Stored | None]:
        """Sizes and times of objects; None for an absent one. Raises StorageUnavailable."""
        names = list(names)
        rows = self._listed() if self._is_usable and names else None
        if rows is None:
            return self._files.stored(names)
        if not len(rows):
            return dict.fromkeys(names)
        wanted = np.fromiter(map(hash, names), np.int64, len(names))
        places = np.minimum(np.searchsorted(rows["name"], wanted), len(rows) - 1)
        found = rows[places]
        return {
            name: _stored(int(one["size"]), int(one["time"])) if one["name"] == key else None
            for name, key, one in zip(names, wanted, found, strict=True)
        }

    def _listed(self) -> NDArray[np.void] | None:
        with self._lock:
            if self._rows is None and self._is_usable:
                self._list()
            return self._rows

    def _list(self) -> None:
        parts, count = [], 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for rows in pool.map(self._part, self._prefixes):
                count += len(rows)
                parts.append(rows)
                if count > MOST:
                    self._is_usable = False
                    pool.shutdown(cancel_futures=True)
                    return
        rows = np.concatenate(parts)
        rows.sort(order="name")
        self._rows = rows

    def _part(self, prefix: str) -> NDArray[np.void]:
        found = self._files.listed(prefix, deep=True)
        return np.fromiter(_numbers(found), _ROW)


def listing_of(path: str, prefixes: Iterable[str] = ("",)) -> ListedObjects | None:
    """The objects below a path; None where a listing tells no times, or is of no use."""
    files = Files(path)
    return ListedObjects(path, prefixes) if files.lists_times and not files.is_local else None


def _numbers(found: Iterable[Listed]) -> Iterator[tuple[int, int, int]]:
    last, seconds = "", 0
    for count, one in enumerate(found):
        if count > MOST:
            return
        if one.time != last:
            last = one.time
            seconds = int(datetime.fromisoformat(last).timestamp())
        yield hash(one.name), one.size, seconds


def _stored(size: int, seconds: int) -> Stored:
    return Stored(size, iso_time(datetime.fromtimestamp(seconds, UTC)))
