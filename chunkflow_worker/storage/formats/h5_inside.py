"""What lies inside an HDF5 file: its links may lead to other files, and its datasets be there.

Whoever made a file could otherwise read every file that the reader may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chunkflow_worker.errors import DataRefused

_HOPS = 16  # soft links that lead to each other; HDF5 follows as many
_COPY = "copy what it needs into one file, for example with h5py where the others are"


def opened(group: Any, name: str, hops: int = _HOPS) -> Any:
    """The object that a name in a group leads to, inside the file.

    Raises KeyError if there is none, and DataRefused if the way leads to another file.
    """
    from h5py import h5l

    here = group.file if name.startswith("/") else group
    for part in (part for part in name.split("/") if part not in ("", ".")):
        key, links = part.encode(), getattr(here.id, "links", None)
        if links is None or not links.exists(key):
            raise KeyError(name)
        kind = links.get_info(key).type
        if kind == h5l.TYPE_SOFT:
            if not hops:
                raise KeyError(name)
            here = opened(here, links.get_val(key).decode(errors="replace"), hops - 1)
        elif kind == h5l.TYPE_HARD:
            here = here[part]
        else:
            other = links.get_val(key)[0] if kind == h5l.TYPE_EXTERNAL else b"a place of its own"
            raise DataRefused(
                f"{group.file.filename}: {name!r} leads to {other.decode(errors='replace')}, and a "
                f"file may not read others\n    {_COPY}"
            )
    return here


def members(
    group: Any, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, Any]]:
    """The objects in a group, by name, that are inside the file; what leads nowhere is left out."""
    for name in filter(wanted, group):
        try:
            yield name, opened(group, name)
        except (KeyError, OSError, DataRefused):
            continue


def leads_to(group: Any, name: str) -> str | None:
    """The path of a soft link; None for others."""
    from h5py import h5l

    key, links = name.encode(), group.id.links
    if not links.exists(key) or links.get_info(key).type != h5l.TYPE_SOFT:
        return None
    return str(links.get_val(key).decode(errors="replace"))


def check_inside(data: Any, path: Path, hops: int = _HOPS) -> None:
    """Raise DataRefused if the voxels of a dataset are in other files."""
    place = f"{path}: dataset {str(data.name).strip('/')!r}"
    if data.external:
        names = ", ".join(dict.fromkeys(str(name) for name, *_ in data.external[:3]))
        raise DataRefused(
            f"{place} has its voxels in other files ({names}), which a file may not read\n    "
            f"{_COPY}"
        )
    for source in data.virtual_sources() if data.is_virtual else ():
        if source.file_name != "." or "%" in source.dset_name or not hops:
            raise DataRefused(
                f"{place} is made of other files ({source.file_name}), which a file may not read\n"
                f"    {_COPY}"
            )
        try:
            part = opened(data.file, source.dset_name)
        except KeyError:  # read as the fill value
            continue
        if part != data and hasattr(part, "virtual_sources"):
            check_inside(part, path, hops - 1)
