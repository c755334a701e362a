"""The columns of an archive. `record` is the whole record; the others are for people and queries.

Sizes are bytes, times are UTC, durations are seconds, coordinates are voxels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from chunkflow_worker.config.extras import needs
from chunkflow_worker.image.bbox import BoundingBox

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record, Written
    from chunkflow_worker.storage.written_file import WrittenFile

BOX, RECORD = "box", "record"
EDGES = ("z_start", "z_stop", "y_start", "y_stop", "x_start", "x_stop")
_TEXTS = ("job", "state", "worker", "compute_device", "precision", "skipped", "pipeline")
_COUNTS = (
    "attempts", "voxels", "bytes_read", "bytes_written", "patches", "patches_skipped"
)  # fmt: skip
_REALS = ("seconds", "waited")
_SAME = (*_TEXTS, *_COUNTS, *_REALS)
"""Fields of a record that are columns as they are."""


class Row(NamedTuple):
    """One record. text: all of it, as JSON."""

    record: Record
    text: str


def row_of(record: Record, content: Mapping[str, Any]) -> Row:
    """content: the record as it is stored; what other versions write is kept."""
    return Row(record, json.dumps(content, separators=(",", ":"), sort_keys=True))


def pyarrow(module: str = "pyarrow") -> Any:
    """The library, imported when it is needed. Raises ConfigError when it is not installed."""
    return needs(module, extra="archive", by="the archive of a ledger")


@cache
def schema() -> Any:
    """pyarrow's schema of an archive."""
    pa = pyarrow()
    text, names = pa.string(), pa.dictionary(pa.int32(), pa.string())
    count, real, moment = pa.int64(), pa.float64(), pa.timestamp("us", "UTC")
    written = {
        "volume": text, "mip": pa.int32(), "bbox": text, "blocks": pa.int32(),
        "empty": pa.bool_(), "first_stored": moment, "last_stored": moment,
    }  # fmt: skip
    file = {"path": text, "size": count, "crc32": text, "stored": moment}
    same = {
        **dict.fromkeys(_TEXTS, names),
        **dict.fromkeys(_COUNTS, count),
        **dict.fromkeys(_REALS, real),
    }
    return pa.schema(
        {
            BOX: text,
            **dict.fromkeys(EDGES, count),
            **same,
            "started": moment,
            "finished": moment,
            "models": pa.map_(text, text),
            "operator_seconds": pa.map_(text, real),
            "written": pa.list_(pa.struct(written)),
            "files": pa.list_(pa.struct(file)),
            RECORD: text,
        }
    )


def table(rows: Sequence[Row]) -> Any:
    """The rows as a table of pyarrow."""
    pa = pyarrow()
    columns: dict[str, list[Any]] = {name: [] for name in schema().names}
    for row in rows:
        for name, value in _values(row):
            columns[name].append(value)
    arrays = [_array(columns[field.name], field.type) for field in schema()]
    return pa.Table.from_arrays(arrays, schema=schema())


def _array(values: list[Any], kind: Any) -> Any:
    pa = pyarrow()
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, OverflowError):  # a number that no task can have counted
        return pa.array([value if _fits(value, kind) else None for value in values], kind)


def _fits(value: Any, kind: Any) -> bool:
    pa = pyarrow()
    try:
        pa.array([value], kind)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def _values(row: Row) -> list[tuple[str, Any]]:
    record, box = row.record, BoundingBox.parse(row.record.bbox)
    edges = [edge for axis in zip(box.start, box.stop, strict=True) for edge in axis]
    return [
        (BOX, record.bbox),
        *zip(EDGES, edges, strict=True),
        *((name, getattr(record, name)) for name in _SAME),
        ("started", _time(record.started)),
        ("finished", _time(record.finished)),
        ("models", list(record.models.items())),
        ("operator_seconds", list(record.timer.items())),
        ("written", [_written(one) for one in record.written]),
        ("files", [_file(one) for one in record.files]),
        (RECORD, row.text),
    ]


def _written(one: Written) -> dict[str, Any]:
    return {
        "volume": one.volume,
        "mip": one.mip,
        "bbox": one.bbox,
        "blocks": len(one.blocks.split()),
        "empty": one.empty,
        "first_stored": _time(one.stored[0]) if one.stored else None,
        "last_stored": _time(one.stored[-1]) if one.stored else None,
    }


def _file(one: WrittenFile) -> dict[str, Any]:
    return {"path": one.path, "size": one.size, "crc32": one.crc32, "stored": _time(one.stored)}


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
