"""Paths of stored data, in the one form that CloudVolume, cloudfiles and tensorstore share."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from chunkflow_worker.config.facts import VOLUMES
from chunkflow_worker.config.places import (
    check_stored,
    check_writable,
    split_format,
    without_format,
)
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import Mistake


def normal_path(path: str) -> str:
    """`path` with a protocol and without a trailing slash; local paths become absolute.

    A path without a protocol is local: ``./s3:/x`` is a folder with a colon in its name. The format
    that viewers write around a volume, as in zarr://, is left out. ``${env:NAME}`` is the value
    of an environment variable.

    Raises ConfigError for a path that is mistyped, has an unknown protocol, or holds a variable.
    """
    try:
        plain = without_format(with_variables(path), VOLUMES)
        check_stored(plain)
        local = plain.removeprefix("file://")
        # CloudVolume keeps a relative path, which would mean another place after a chdir.
        return plain.rstrip("/") if "://" in local else f"file://{_home(local).absolute()}"
    except Mistake as mistake:
        raise mistake.at("path", path) from None


def named_format(path: str) -> str | None:
    """The format that a path names around itself; None if it names none. Raises ConfigError."""
    try:
        return split_format(with_variables(path))[0]
    except Mistake as mistake:
        raise mistake.at("path", path) from None


def writable_path(path: str) -> str:
    """The normal form of a path to write to. Raises ConfigError also for one that is read only."""
    plain = normal_path(path)
    try:
        check_writable(plain)
    except Mistake as mistake:
        raise mistake.at("path", path) from None
    return plain


def _home(local: str) -> Path:
    try:
        return Path(local.rstrip("/") or local).expanduser()
    except RuntimeError:
        user = local.partition("/")[0]
        raise Mistake(f"no user of this machine is named {user[1:]}") from None


@lru_cache(1000)
def local_folder(path: str) -> Path | None:
    """The folder on this machine that a normal path names; None for object storage and memory."""
    return Path(path.removeprefix("file://")) if path.startswith("file://") else None


def public_path(path: str) -> str:
    """The https link to a folder of an object store, which needs no credentials.

    Other paths are returned in their normal form.
    """
    from cloudfiles.paths import to_https_protocol

    return str(to_https_protocol(normal_path(path)))
