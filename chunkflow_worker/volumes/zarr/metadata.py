"""`StoredArray`: what a store says of an array, in its own metadata and that of its groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.volumes.zarr.store import is_refused, read_metadata

Driver = Literal["zarr", "zarr3", "n5"]
"""The format, in tensorstore's words."""

ARRAY_FILE: dict[Driver, str] = {"zarr": ".zarray", "zarr3": "zarr.json", "n5": "attributes.json"}
GROUP_FILE: dict[Driver, str] = {"zarr": ".zattrs", "zarr3": "zarr.json", "n5": "attributes.json"}
METADATA_FILES = {*ARRAY_FILE.values(), *GROUP_FILE.values(), ".zgroup", ".zmetadata"}
_HEIGHT = 5  # groups above an array that are asked for its geometry


@contextmanager
def odd_metadata(place: str) -> Iterator[None]:
    """Report metadata of a form that no program writes, in which a list stands for a word.

    Raises ConfigError.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        problem = f"are of a form that is not known ({type(error).__name__.removesuffix('Error')})"
        cure = "restore them: they say what the voxels are"
        raise ConfigError.one(place, "metadata", problem, cure) from error


@dataclass(frozen=True)
class Group:
    """A group above an array.

    place: its path.
    name: path of the array in it.
    attributes: empty when it has none.
    is_group: False for a folder without metadata.
    """

    place: str
    name: str
    attributes: dict[str, Any]
    is_group: bool = True


@dataclass(frozen=True)
class StoredArray:
    """An array in a store.

    place: its path, in normal form.
    content: of its ARRAY_FILE.
    groups: those above it, the nearest first.
    """

    place: str
    driver: Driver
    content: dict[str, Any]
    attributes: dict[str, Any]
    groups: tuple[Group, ...] = ()

    @property
    def files(self) -> list[str]:
        """Paths of the objects that say how it is stored: its own, and that of the next group."""
        own = f"{self.place}/{ARRAY_FILE[self.driver]}"
        above = [g.place for g in self.groups[:1] if g.is_group]
        return [own, *(f"{place}/{GROUP_FILE[self.driver]}" for place in above)]

    @property
    def is_n5(self) -> bool:
        return self.driver == "n5"

    @property
    def shape(self) -> list[int]:
        """Size along each axis."""
        shape: list[int] = self.content["dimensions" if self.is_n5 else "shape"]
        return shape

    @property
    def dimensions(self) -> int:
        """Number of its axes."""
        return len(self.shape)


def stored_array(place: str, driver: Driver, *, alone: bool = False) -> StoredArray | None:
    """The array at a path, with what the groups above it say; None when there is none.

    alone: leave out the groups, which are read from storage one by one.
    Raises StorageUnavailable.
    """
    content = read_metadata(place, ARRAY_FILE[driver])
    return _array(place, driver, content, alone) if is_array(content, driver) else None


def array_or_group(place: str, driver: Driver) -> StoredArray | dict[str, Any] | None:
    """The array at a path, or the attributes of the group there. Raises StorageUnavailable."""
    content = read_metadata(place, ARRAY_FILE[driver])
    if is_array(content, driver):
        return _array(place, driver, content)
    if driver == "zarr":
        return group_attributes(place, driver)
    return _attributes(content, driver) if isinstance(content, dict) else None


def group_attributes(place: str, driver: Driver) -> dict[str, Any] | None:
    """The attributes of a group; None when there is no group. Raises StorageUnavailable."""
    content = read_metadata(place, GROUP_FILE[driver])
    if content is None and driver == "zarr":
        marker = read_metadata(place, ".zgroup")
        content = None if marker is None else {}
    return _attributes(content, driver) if isinstance(content, dict) else None


def is_array(content: Any, driver: Driver) -> bool:
    """Whether this content of an ARRAY_FILE describes an array, and not a group."""
    if not isinstance(content, dict):
        return False
    if driver == "n5":
        return isinstance(content.get("dimensions"), list)
    is_node = content.get("node_type", "array") == "array"
    return is_node and isinstance(content.get("shape"), list)


def _array(place: str, driver: Driver, content: dict[str, Any], alone: bool = False) -> StoredArray:
    own = read_metadata(place, ".zattrs") if driver == "zarr" else _attributes(content, driver)
    groups = () if alone else tuple(_groups(place, driver))
    return StoredArray(place, driver, content, own if isinstance(own, dict) else {}, groups)


def _attributes(content: dict[str, Any], driver: Driver) -> dict[str, Any]:
    attributes = content.get("attributes", {}) if driver == "zarr3" else content
    return dict(attributes) if isinstance(attributes, dict) else {}


def _attributes_above(place: str, driver: Driver) -> dict[str, Any] | None:
    """Those of a group; a file less is read where it does not matter whether there is a group."""
    if driver == "zarr" and not place.endswith("/labels"):
        content = read_metadata(place, GROUP_FILE[driver])
        return content if isinstance(content, dict) else None
    return group_attributes(place, driver)


def _groups(place: str, driver: Driver) -> Iterator[Group]:
    protocol, _, path = place.partition("://")
    parts = path.split("/")
    # The first part is a bucket or a host, or it is empty: the root of this machine.
    for length in range(len(parts) - 1, max(0, len(parts) - 1 - _HEIGHT), -1):
        above = f"{protocol}://{'/'.join(parts[:length])}"
        try:
            attributes = _attributes_above(above, driver)
        except StorageUnavailable as error:
            if not is_refused(error):
                raise
            attributes = None  # a user may see a store, and not the folder that it is in
        yield Group(above, "/".join(parts[length:]), attributes or {}, attributes is not None)
