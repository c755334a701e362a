"""The format in the address of a Zarr or N5 store, as Neuroglancer writes it: n5://, |zarr3: ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chunkflow_worker.config.places import split_format
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import Mistake
from chunkflow_worker.storage.path import named_format
from chunkflow_worker.volumes.zarr.metadata import Driver

ALL: tuple[Driver, ...] = ("zarr3", "zarr", "n5")
FORMATS: dict[str, tuple[Driver, ...]] = {
    "zarr": ("zarr3", "zarr"),
    "zarr2": ("zarr",),
    "zarr3": ("zarr3",),
    "n5": ("n5",),
}
"""A format in an address -> the drivers of tensorstore that it allows."""


def drivers_of(path: str) -> tuple[Driver, ...]:
    """The drivers of tensorstore to try for a path: those of the format that it names, or all.

    Raises ConfigError for a path that is mistyped.
    """
    return FORMATS.get(named_format(path) or "", ALL)


def with_driver(options: Any) -> Any:
    """Options of an operator; the driver is the one that the address of their store names, if any.

    Raises Mistake if the options name another driver.
    """
    name = _format(options.get("store")) if isinstance(options, Mapping) else None
    if name is None:
        return options
    drivers, given = FORMATS[name], options.get("driver")
    if given not in (None, "local", *drivers):
        problem = f"driver is {given}, and the address of the store names {name}"
        raise Mistake(problem, "leave one of them out")
    return {**options, "driver": drivers[0]} if len(drivers) == 1 else options


def _format(store: Any) -> str | None:
    """The format that an address names; None also for one that is wrong."""
    try:
        name = split_format(with_variables(store))[0] if isinstance(store, str) else None
    except Mistake:
        return None
    return name if name in FORMATS else None
