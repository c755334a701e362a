"""Paths of stored data, in the one form that CloudVolume, cloudfiles and tensorstore share."""

from __future__ import annotations

from pathlib import Path

from chunkflow_worker.errors import ConfigError

PROTOCOLS = ("file://", "s3://", "gs://", "mem://", "http://", "https://")


def normal_path(path: str) -> str:
    """`path` with a protocol and without a trailing slash; local paths become absolute.

    A path without a protocol is local. Raises ConfigError for an unknown protocol.
    """
    plain = path.removeprefix("precomputed://").rstrip("/")
    local = plain.removeprefix("file://")
    if "://" not in local:
        # CloudVolume keeps a relative path, which would mean another place after a chdir.
        return f"file://{Path(local).expanduser().absolute()}"
    if not plain.startswith(PROTOCOLS):
        legal = "legal: " + ", ".join(PROTOCOLS)
        raise ConfigError.one("path", path, "has an unknown protocol", legal)
    return plain


def local_folder(path: str) -> Path | None:
    """The folder on this machine that a normal path names; None for object storage and memory."""
    return Path(path.removeprefix("file://")) if path.startswith("file://") else None


def public_path(path: str) -> str:
    """The https link to a folder of an object store, which needs no credentials.

    Other paths are returned in their normal form.
    """
    from cloudfiles.paths import to_https_protocol

    return str(to_https_protocol(normal_path(path)))
