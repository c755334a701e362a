"""`normal_info`: an info file as other programs write it, in the one form that its format has.

What has one meaning is taken: 50.0, "50" and UINT8, and keys that are left out where their value
follows from others. All else is a fault that names the key and the legal values.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from json import JSONDecodeError
from typing import Any

from chunkflow_worker.errors import ConfigError, Fault, Mistake
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.largest import check_text
from chunkflow_worker.volumes.precomputed.encoding import DTYPES, ENCODINGS, holds_ids

log = logging.getLogger(__name__)

_READABLE = {*DTYPES, "int64", "float16", "float64"}  # that CloudVolume writes besides
_VOLUME = "neuroglancer_multiscale_volume"
_MOST_SCALES = 100
_MOST_MINISHARD_BITS = 20  # an index of 16 MiB
_SMALLEST = 0.1  # nanometres: about an atom
_LARGEST = 2**31  # of numbers; CloudVolume computes positions with 32 bits
_NOT_IN_NAMES = re.compile(r"[:$|\\?#\x00-\x1f]")  # of protocols, variables and links
_OF_SHARDS = {
    "@type": ("neuroglancer_uint64_sharded_v1",),
    "hash": ("identity", "murmurhash3_x86_128"),
    "minishard_index_encoding": ("raw", "gzip"),
    "data_encoding": ("raw", "gzip"),
}
_ONLY_IDS_HAVE = ("mesh", "skeletons", "segment_properties")


def parse_info(content: bytes, place: str) -> dict[str, Any]:
    """The info of a volume, in its normal form but for the scales. place: of the file.

    Raises ConfigError with all the faults of the keys beside the scales.
    """
    check_text(len(content), place)
    try:
        info = parse_json(content)
    except ValueError as error:
        info = error
    if not isinstance(info, dict):
        is_link = place.startswith("http")
        page = "a web server may send a page of its own for a missing file"
        cure = page if is_link else "restore it from a copy: it says what the volume is"
        is_text = isinstance(info, JSONDecodeError)
        at = f", see line {info.lineno}, column {info.colno}" if is_text else ""
        raise ConfigError.one(place, "file", f"is not a JSON object{at}", cure)
    kind = info.get("@type", _VOLUME)
    if kind != _VOLUME:
        raise ConfigError.one(place, "@type", f"{kind!r} is not a volume", f"legal: {_VOLUME}")
    reader = _Reader(place, "", info)
    info["scales"] = reader.read("scales", _list_of_scales)
    for key in _ONLY_IDS_HAVE:
        if info.get(key):
            reader.read(key, folder_below)
    if info.get("redirect") not in (None, "", place.removesuffix("/info")):
        reader.read("redirect", _no_redirect)
    reader.check()
    info["data_type"] = reader.read("data_type", _data_type)
    info["num_channels"] = reader.read("num_channels", _count, 1)
    info["type"] = reader.read("type", _layer_type, _likely_type(info))
    reader.check()
    return info


def normal_scale(
    scale: Mapping[str, Any], place: str, mip: int, *, quiet: bool = False
) -> dict[str, Any]:
    """A scale of an info in its normal form. Raises ConfigError with all its faults.

    quiet: do not warn of an offset that is not whole, or of tiny voxels.
    """
    reader = _Reader(place, f"scales.{mip}.", scale)
    normal: dict[str, Any] = {
        **scale,
        "key": reader.read("key", folder_below),
        "size": reader.read("size", _sizes),
        "resolution": reader.read("resolution", _resolution),
        "voxel_offset": reader.read("voxel_offset", _position, None) or [0, 0, 0],
        "chunk_sizes": reader.read("chunk_sizes", _chunk_sizes),
        "encoding": reader.read("encoding", _encoding),
    }
    if normal["encoding"] == "compressed_segmentation":
        name = "compressed_segmentation_block_size"
        normal[name] = reader.read(name, _sizes)
    if scale.get("sharding"):
        reader.read("sharding", check_sharding)
    offset = normal["voxel_offset"]
    # As CloudVolume does, which halves offsets from mip to mip in the same way.
    normal["voxel_offset"] = whole = [math.floor(n) for n in offset]
    if whole != offset and not quiet:
        reader.note(
            "voxel_offset",
            f"{offset} are not whole numbers: read as {whole}; positions are off by less than a "
            "voxel",
        )
    if max(normal["resolution"] or (1,)) < _SMALLEST and not quiet:
        reader.note(
            "resolution",
            f"{scale['resolution']} is in nanometres, by the format: no voxel is so small; if it "
            "is in another unit, correct it",
        )
    reader.check()
    ends = [n + m for n, m in zip(whole, normal["size"], strict=True)]
    if max(ends) >= _LARGEST:
        problem = f"the volume ends at {ends}, and CloudVolume knows no positions beyond {_LARGEST}"
        raise ConfigError.one(place, f"scales.{mip}.size", problem, "correct size or voxel_offset")
    return normal


_REQUIRED = object()


class _Reader:
    """Reads the keys of a mapping and collects their faults.

    place: of the info file. prefix: before the names of its keys in the faults.
    """

    def __init__(self, place: str, prefix: str, keys: Mapping[str, Any]):
        self._place, self._prefix, self._keys = place, prefix, keys
        self._faults: list[Fault] = []
        self._notes: list[str] = []

    def read(self, key: str, convert: Callable[[Any], Any], default: object = _REQUIRED) -> Any:
        """The value of a key, or the default, with a warning, if it is left out."""
        value = self._keys.get(key)
        if value is None and default is not _REQUIRED:
            if default is not None:
                self.note(key, f"is left out: read as {default}")
            return default
        try:
            return convert(value)
        except Mistake as mistake:
            is_there = key in self._keys
            problem = f"{_shortened(value)} {mistake.problem}" if is_there else "is left out"
            self._faults.append(Fault(self._prefix + key, problem, mistake.cure))
            return None

    def note(self, key: str, text: str) -> None:
        """Note what the user should know about a key that is taken."""
        self._notes.append(f"{self._place}: {self._prefix}{key} {text}")

    def check(self) -> None:
        """Raise ConfigError if there are faults; otherwise give the notes, once a process."""
        if self._faults:
            raise ConfigError(self._place, self._faults)
        for note in self._notes:
            warn_once(log, note)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _list_of_scales(value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(scale, dict) for scale in value):
        raise Mistake("is not a list of scales", "one mapping for each mip")
    if not 1 <= len(value) <= _MOST_SCALES:
        many = f"{len(value)} scales" if value else "no scale"
        raise Mistake(f"holds {many}", f"one mapping for each mip, at most {_MOST_SCALES}")
    return value


def _data_type(value: Any) -> str:
    name = str(value).strip().lower()
    if name not in _READABLE:
        raise Mistake("is not a type of voxels", f"legal: {', '.join(DTYPES)}")
    return name


def _encoding(value: Any) -> str:
    name = str(value).strip().lower()
    if name not in ENCODINGS:
        raise Mistake("is not an encoding", f"legal: {', '.join(sorted(ENCODINGS))}")
    return name


def _layer_type(value: Any) -> str:
    name = str(value).strip().lower()
    if name not in ("image", "segmentation"):
        raise Mistake("is not a type of volume", "legal: image, segmentation")
    return name


def _likely_type(info: Mapping[str, Any]) -> str:
    """The type of a volume whose info does not name it."""
    scales = info.get("scales")
    first = scales[0] if isinstance(scales, list) and scales else {}
    encoding = str(first.get("encoding")).lower() if isinstance(first, dict) else ""
    ids = any(info.get(key) for key in _ONLY_IDS_HAVE)
    ids = ids or holds_ids(str(info.get("data_type")).lower(), encoding)
    return "segmentation" if ids else "image"


def folder_below(value: Any) -> str:
    """The name of a folder below a volume. Raises Mistake for one that leads elsewhere.

    Whoever wrote the info could otherwise make a reader look for files in all its storage.
    """
    if not isinstance(value, str) or not value:
        raise Mistake("is not the name of a folder", "for example 8_8_40")
    if value.startswith("/") or ".." in value.split("/") or _NOT_IN_NAMES.search(value):
        raise Mistake("leads out of the volume", "a folder below it, for example 8_8_40")
    return value


def _no_redirect(value: Any) -> None:
    path = str(value)[:200]
    raise Mistake("is where the volume says it is now", f"give that path, if you trust it: {path}")


def check_sharding(value: Any) -> None:
    """Raise Mistake unless this describes shards, with an index that fits the memory."""
    bits = ("preshift_bits", "minishard_bits", "shard_bits")
    numbers: list[Any] = [value.get(n) for n in bits] if isinstance(value, dict) else [None]
    if not all(isinstance(n, int) and 0 <= n <= 64 for n in numbers):
        raise Mistake("is not a description of shards", f"{', '.join(bits)}: 0 to 64")
    if numbers[1] > _MOST_MINISHARD_BITS or sum(numbers[1:]) > 64:
        raise Mistake("has too many bits", f"minishard_bits: at most {_MOST_MINISHARD_BITS}")
    for name, legal in _OF_SHARDS.items():
        if value.get(name, legal[0]) not in legal:
            raise Mistake(f"has a {name} that is not known", f"legal: {', '.join(legal)}")


def _count(value: Any) -> int:
    number = _number(value)
    if number is None or number < 1 or number % 1:
        raise Mistake("is not a number of channels", "a whole number of at least 1")
    return int(number)


def _sizes(value: Any) -> list[int]:
    numbers = _three(value)
    if numbers is None or any(n < 1 or n % 1 for n in numbers):
        raise Mistake("is not a size", "three whole numbers of at least 1: [x, y, z]")
    return [int(n) for n in numbers]


def _chunk_sizes(value: Any) -> list[list[int]]:
    is_list = isinstance(value, list) and value
    sizes = value if is_list and isinstance(value[0], list) else [value]
    try:
        return [_sizes(size) for size in sizes]
    except Mistake:
        raise Mistake("is not a list of sizes", "whole numbers: [[x, y, z]]") from None


def _resolution(value: Any) -> list[float]:
    numbers = _three(value)
    if numbers is None or any(n <= 0 for n in numbers):
        raise Mistake("is not a voxel size", "three numbers above 0, in nanometres: [x, y, z]")
    # CloudVolume writes 40.0 beside 7.16, and names of folders of further mips follow from it.
    texts = (isinstance(given, str) and not n % 1 for given, n in zip(value, numbers, strict=True))
    return [int(n) if whole else n for whole, n in zip(texts, numbers, strict=True)]


def _position(value: Any) -> list[float]:
    numbers = _three(value)
    if numbers is None:
        raise Mistake("is not a position", "three whole numbers: [x, y, z]")
    return numbers


def _three(value: Any) -> list[float] | None:
    numbers = [_number(n) for n in value] if isinstance(value, list) else []
    found = [n for n in numbers if n is not None]
    return found if len(numbers) == len(found) == 3 else None


def _number(value: Any) -> float | None:
    """A finite number, which may be written as text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return number if abs(number) < _LARGEST else None  # nor if it is NaN
