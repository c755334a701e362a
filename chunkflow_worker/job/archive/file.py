"""`Archive` reads one archive, `write_archive` writes one."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError, DataMissing, StorageUnavailable
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.archive.columns import (
    BOX,
    EDGES,
    RECORD,
    Row,
    pyarrow,
    schema,
    table,
)
from chunkflow_worker.storage.object_reader import ObjectReader

if TYPE_CHECKING:
    from chunkflow_worker.job.grid import Boxes
    from chunkflow_worker.storage.files import Files

_KEY, _FORM = b"chunkflow", 1
_ROWS, _BYTES = 5000, 1 << 25  # of a group of rows, which is read at once; and of its records
_MOST_BYTES = 1 << 29  # of a group, unpacked, and of the description of a file
_HELD = 2  # groups in memory


@dataclass(frozen=True)
class Content:
    """What an archive says of itself.

    job: that it is of. made: when, in UTC and ISO 8601.
    rows: number of records. crc32: of their boxes and texts, in order.
    firsts: the first box of each group of rows.
    """

    job: str
    made: str
    rows: int
    crc32: int
    firsts: tuple[str, ...]


def write_archive(path: Path, job: str, rows: Iterable[Row]) -> Content:
    """Write the records of a job's boxes, in the order of the boxes, to a file on this machine.

    The memory is that of some thousand records. Raises what `rows` raises, and OSError.
    """
    parquet = pyarrow("pyarrow.parquet")
    firsts, count, crc = list[str](), 0, 0
    options = {"compression": "zstd", "compression_level": 3, "write_page_checksum": True}
    with parquet.ParquetWriter(path, schema(), **options) as writer:
        for group in _groups(rows):
            firsts.append(group[0].record.bbox)
            count += len(group)
            for row in group:
                crc = _checksum(row.record.bbox, row.text, crc)
            writer.write_table(table(group), row_group_size=len(group))
        content = Content(job, datetime.now(UTC).isoformat(), count, crc, tuple(firsts))
        about = {"form": _FORM, **asdict(content)}
        writer.add_key_value_metadata({_KEY: json.dumps(about)})
    return content


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group, size = list[Row](), 0
    for row in rows:
        group.append(row)
        size += len(row.text)
        if len(group) == _ROWS or size >= _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _checksum(box: str, text: str, before: int) -> int:
    return crc32(f"{box}\n{text}\n".encode(), before)


class Archive:
    """The records of an archive. Several threads may use it.

    name: of the file below the path of `files`. size: in bytes.
    Methods raise ConfigError for a file that is damaged or no archive, and StorageUnavailable.
    """

    def __init__(self, files: Files, name: str, size: int):
        self.name, self.place = name, f"{files.path}/{name}"
        self._lock = threading.Lock()
        with self._errors():
            source = pyarrow().PythonFile(ObjectReader(files, name, size), mode="r")
            self._file = pyarrow("pyarrow.parquet").ParquetFile(
                source, pre_buffer=True, page_checksum_verification=True
            )
            found = self._file.metadata
            self.content = _content((found.metadata or {}).get(_KEY, b""), found)
            self._firsts = [BoundingBox.parse(box).start for box in self.content.firsts]
            names = self._file.schema_arrow.names
            if {BOX, RECORD, *EDGES} - {*names}:
                raise ValueError("it lacks columns")
        self._group = lru_cache(_HELD)(self._read_group)

    def marks(self, boxes: Boxes) -> NDArray[np.uint8]:
        """A bit for each box of the grid of a job, the lowest for the first: what is archived."""
        count = boxes.last - boxes.first
        bits = np.zeros(-(-count // 8), np.uint8)
        for group in range(len(self._firsts)):
            columns = self._read(group, list(EDGES))
            edges = [np.asarray(columns[name].to_numpy(), np.int64) for name in EDGES]
            places = _places(boxes, edges)
            np.bitwise_or.at(bits, places >> 3, np.uint8(1) << (places & 7).astype(np.uint8))
        return bits

    def texts(self, boxes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The records of boxes, as JSON, of those that it has."""
        for box in boxes:
            with suppress(ValueError):
                group = bisect_right(self._firsts, BoundingBox.parse(box).start) - 1
                if group >= 0 and (text := self._held(group).get(box)) is not None:
                    yield box, text

    def all_texts(self) -> Iterator[tuple[str, str]]:
        """All boxes and their records, in the order of the file."""
        for group in range(len(self._firsts)):
            yield from self._held(group).items()

    def check(self) -> None:
        """Read the whole file and compare it with what it says of itself.

        pyarrow compares all columns with the checksums of their pages.
        """
        count = crc = 0
        for group in range(len(self._firsts)):
            columns = self._read(group)
            names, texts = (columns[name].to_pylist() for name in (BOX, RECORD))
            for box, text in zip(names, texts, strict=True):
                count, crc = count + 1, _checksum(box, text, crc)
        if (count, crc) != (self.content.rows, self.content.crc32):
            raise self._damaged("its records are not those that were written")

    def _held(self, group: int) -> Mapping[str, str]:
        with self._lock:
            return self._group(group)

    def _read_group(self, group: int) -> dict[str, str]:
        columns = self._read(group, [BOX, RECORD])
        names, texts = columns[BOX].to_pylist(), columns[RECORD].to_pylist()
        return dict(zip(names, texts, strict=True))

    def _read(self, group: int, columns: list[str] | None = None) -> Any:
        with self._errors():
            about = self._file.metadata.row_group(group)
            if about.total_byte_size > _MOST_BYTES:
                raise ValueError(f"a group of its rows has {about.total_byte_size} bytes")
            return self._file.read_row_group(group, columns=columns, use_threads=False)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (ConfigError, StorageUnavailable):
            raise
        except DataMissing as error:
            raise StorageUnavailable(f"{error}: it was replaced; try again") from error
        except (ValueError, TypeError, OSError, KeyError, ArithmeticError, RuntimeError) as error:
            raise self._damaged(f"{error}"[:300]) from error

    def _damaged(self, why: str) -> ConfigError:
        cure = (
            "restore the file, for example its earlier version; if the records of its boxes are "
            "still in the ledger, delete the file and run chunkflow-producer archive again"
        )
        return ConfigError.one(self.place, "archive", f"is damaged, or no archive: {why}", cure)


def _content(text: bytes, found: Any) -> Content:
    """Raises ValueError for what is none."""
    about = json.loads(text or b"null")
    if not isinstance(about, dict) or about.get("form") != _FORM:
        raise ValueError("it is of another program or version")
    content = Content(
        str(about["job"]),
        str(about["made"]),
        int(about["rows"]),
        int(about["crc32"]),
        tuple(about["firsts"]),
    )
    if (content.rows, len(content.firsts)) != (found.num_rows, found.num_row_groups):
        raise ValueError("it has other rows than it says")
    return content


def _places(boxes: Boxes, edges: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The places, from the job's first box, of those boxes that belong to its grid."""
    index, fits = np.zeros(len(edges[0]), np.int64), np.ones(len(edges[0]), bool)
    for axis, count in enumerate(boxes.grid_size):
        starts, stops, size = edges[2 * axis], edges[2 * axis + 1], boxes.chunk_size[axis]
        place, rest = np.divmod(starts - boxes.start[axis], size)
        expected = starts + size
        if boxes.stop is not None:
            expected = np.minimum(expected, boxes.stop[axis])
        fits &= (rest == 0) & (place >= 0) & (place < count) & (stops == expected)
        index = index * count + np.clip(place, 0, count - 1)
    places = index[fits] - boxes.first
    within = (places >= 0) & (places < boxes.last - boxes.first)
    return np.asarray(places[within])
