"""`find_array`: the array that a path means, which may be the path of a group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Any

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.path import local_folder
from chunkflow_worker.volumes.volume import no_such_mip
from chunkflow_worker.volumes.zarr.metadata import (
    ARRAY_FILE,
    Driver,
    StoredArray,
    array_or_group,
    group_attributes,
    is_array,
    stored_array,
)
from chunkflow_worker.volumes.zarr.ome import (
    datasets_of,
    multiscales,
    name_below,
    ome_attributes,
)
from chunkflow_worker.volumes.zarr.store import read_metadata

log = logging.getLogger(__name__)
_NAMES = 10  # that a message lists
_LISTED = 200  # folders of which it is known whether they are arrays


def find_array(place: str, drivers: Iterable[Driver], mip: int = 0) -> StoredArray | None:
    """The array at a path, or the one of a mip level of the image that the group there holds.

    place: in normal form.
    mip: 0 is the finest level. An array alone has no other.
    Returns None when there is neither. Raises ConfigError when a group holds several images, or
    does not tell what it holds, or has no such level, and StorageUnavailable.
    """
    drivers, is_group = list(drivers), False
    for driver in drivers:
        found = array_or_group(place, driver)
        if isinstance(found, dict):
            is_group = True
            found = _array_of_group(place, driver, found, mip)
        elif found is not None and mip:
            raise no_such_mip(place, mip, 1, "give the path of its group")
        if found is not None:
            return found
    if is_group and local_folder(place) is None:
        problem = "is a group, and its metadata do not list what is in it"
        cure = f"give the path of an array, for example {quote(f'{place}/em/s0')}"
        raise ConfigError.one(place, "group", problem, cure)
    in_folder = (_array_of_group(place, driver, None, mip) for driver in drivers)
    return None if is_group else next(filter(None, in_folder), None)


def _array_of_group(
    place: str, driver: Driver, attributes: Mapping[str, Any] | None, mip: int
) -> StoredArray | None:
    """attributes: None when there is no such group, and its folder may still hold arrays."""
    if scales := multiscales(attributes or {}):
        name, mip = _level_of(place, scales, mip), 0
    else:
        name = _named_in(place, driver, attributes or {})
    if name is not None:
        found = find_array(f"{place}/{name}", [driver], mip)
        if found is None:
            raise DataMissing(f"{place} lists {name}, and there is no array of that name")
        return found
    for name in (f"s{mip}", f"{mip}") if driver == "n5" else (f"{mip}", f"s{mip}"):
        found = stored_array(f"{place}/{name}", driver)
        if found is not None:
            return found
    return _only_member(place, driver, mip, is_group=attributes is not None)


def _level_of(place: str, scales: list[dict[str, Any]], mip: int) -> str | None:
    """Name of a level of the first multiscale of a group; None if it is not below the group."""
    levels = datasets_of(scales[0])
    if len(scales) > 1:
        first, *others = (datasets_of(each)[0]["path"] for each in scales)
        text = f"{place}: of its multiscales the first is read, {first}, and not "
        warn_once(log, f"{text}{', '.join(others)} (give its path to read it)")
    if not 0 <= mip < len(levels):
        raise no_such_mip(place, mip, len(levels))
    return name_below(levels[mip]["path"])


def _named_in(place: str, driver: Driver, attributes: Mapping[str, Any]) -> str | None:
    """Name of the only image that the attributes of a group list.

    Raises ConfigError for several images.
    """
    ome = ome_attributes(attributes)
    if "plate" in ome:
        problem = "is a plate of wells, and a chain reads one image"
        cure = f"give the path of one, for example {quote(f'{place}/A/1/0')}"
        raise ConfigError.one(place, "group", problem, cure)
    well = ome.get("well")
    if isinstance(well, dict):
        images = well.get("images", [])
        return _only(place, [i.get("path") for i in images if isinstance(i, dict)])
    if "bioformats2raw.layout" in ome:
        return _only(place, _series(place, driver))
    if isinstance(ome.get("labels"), list):
        return _only(place, ome["labels"])
    return "data" if isinstance(attributes.get("painteraData"), dict) else None


def _series(place: str, driver: Driver) -> list[str]:
    """Names of the images in the layout of bioformats2raw."""
    inner = group_attributes(f"{place}/OME", driver)
    listed = ome_attributes(inner or {}).get("series")
    if isinstance(listed, list):
        return listed
    names = list[str]()
    while len(names) <= _NAMES and group_attributes(f"{place}/{len(names)}", driver) is not None:
        names.append(str(len(names)))
    return names


def _only(place: str, names: list[Any]) -> str | None:
    """The only one of several names; None for none. Raises ConfigError."""
    if len(names) > 1:
        raise _several(place, "images", [str(name) for name in names])
    return name_below(str(names[0])) if names else None


def _only_member(place: str, driver: Driver, mip: int, *, is_group: bool) -> StoredArray | None:
    """The only array of two or more dimensions in a folder, or that of the only group.

    Raises ConfigError when there are several, or when it has no such level.
    """
    arrays, groups = _members(place, driver, is_group)
    found = {name: stored_array(f"{place}/{name}", driver, alone=True) for name in arrays}
    images = [name for name, array in found.items() if array and array.dimensions > 1]
    if images and mip:
        raise no_such_mip(place, mip, 1)
    if images:
        return stored_array(f"{place}/{_likeliest(place, images)}", driver)
    if len(groups) == 1 and is_group:
        below = f"{place}/{groups[0]}"
        return _array_of_group(below, driver, group_attributes(below, driver) or {}, mip)
    if groups:
        raise _several(place, "groups", groups)
    return None


def _likeliest(place: str, images: list[str]) -> str:
    """The only array, or that of several that is called main or raw. Raises ConfigError."""
    if len(images) == 1:
        return images[0]
    for name in ("main", "raw"):
        if name in images:
            others = ", ".join(other for other in images if other != name)
            text = f"{place}: of its arrays {name} is read, and not {others}"
            warn_once(log, f"{text} (give its path to read it)")
            return name
    raise _several(place, "arrays", images)


def _members(place: str, driver: Driver, is_group: bool) -> tuple[list[str], list[str]]:
    """Names of the arrays and of the groups in a folder, as far as they can be listed cheaply.

    Object storage would list every block, so there they come from consolidated metadata.
    is_group: the folder is a group. In N5, every folder in a group is a group.
    """
    folder, any_is_group = local_folder(place), is_group and driver == "n5"
    known = _consolidated(place, driver) if folder is None else {}
    below = sorted(path.name for path in folder.glob("*") if path.is_dir()) if folder else []
    for name in below[:_LISTED]:
        content = read_metadata(f"{place}/{name}", ARRAY_FILE[driver])
        if is_array(content, driver):
            known[name] = True
        elif any_is_group or group_attributes(f"{place}/{name}", driver) is not None:
            known[name] = False
    return [n for n in known if known[n]], [n for n in known if not known[n]]


def _consolidated(place: str, driver: Driver) -> dict[str, bool]:
    """Whether each direct member of a group is an array, from the group's consolidated metadata."""
    if driver == "n5":
        return {}
    content = read_metadata(place, ".zmetadata" if driver == "zarr" else "zarr.json")
    inner = content.get("consolidated_metadata") if isinstance(content, dict) else None
    holder = content if driver == "zarr" else inner
    listed = holder.get("metadata") if isinstance(holder, dict) else None
    if not isinstance(listed, dict):
        return {}
    if driver == "zarr3":
        return {n: is_array(c, driver) for n, c in listed.items() if "/" not in n}
    names = (key.rpartition("/")[0] for key in listed if not key.endswith(".zattrs"))
    return {n: f"{n}/.zarray" in listed for n in names if n and "/" not in n}


def _several(place: str, what: str, names: list[str]) -> ConfigError:
    shown = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
    problem = f"holds {what}, and a chain reads one image: {shown}"
    cure = f"give the path of one, for example {quote(f'{place}/{names[0]}')}"
    return ConfigError.one(place, "group", problem, cure)
