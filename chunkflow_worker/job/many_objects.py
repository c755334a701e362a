"""`get_jsons`: reads many small objects whose names are those of boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.json_text import parse_json

_MANY = 50  # objects, for which it is worth while to list them first
_ROWS, _LAYERS = 8, 4  # that are listed: boxes whose names begin with the same two texts, and one


def get_jsons(files: Files, names: Sequence[str], largest: int) -> Iterator[Any]:
    """The same as `Files.get_jsons`: of many objects of S3, by a tenth of the processor's work.

    They are listed first, so that no more of an object is read than the listing says.
    """
    prefixes = _prefixes(names) if files.lists_times and not files.is_local else []
    if not prefixes:
        yield from files.get_jsons(names, largest)
        return
    from chunkflow_worker.volumes.zarr.read_listed import read_listed

    wanted = {*names}
    listed = [one for each in prefixes for one in files.listed(each) if one.name in wanted]
    small = [one for one in listed if 0 < one.size <= largest]
    found = dict(read_listed(files.path, small))
    others = [one.name for one in small if one.name not in found]  # written anew meanwhile
    again = dict(zip(others, files.get_jsons(others, largest), strict=True))
    for name in names:
        yield _parsed(found[name]) if name in found else again.get(name)


def _prefixes(names: Sequence[str]) -> list[str]:
    """Beginnings of all these names; none if they are too few, or too far apart."""
    if len(names) < _MANY:
        return []
    for texts, most in ((2, _ROWS), (1, _LAYERS)):
        found = dict.fromkeys("_".join(name.split("_")[:texts]) + "_" for name in names)
        if len(found) <= most:
            return [*found]
    return []


def _parsed(content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError:
        return None
