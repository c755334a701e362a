"""Files on this machine: their names, reading them with clear errors, and writing them whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import (
    ChunkflowError,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def local_name(name: str) -> str:
    """Check an option that names a local file, whose ~ is the home. Raises ValueError for an address with a protocol."""
    if "://" in name:
        raise ValueError("takes a path on this machine, without a protocol")
    # A shell leaves the tilde of --file-name=~/em.h5 to us.
    return f"{Path.home()}{name[1:]}" if name == "~" or name.startswith("~/") else name


def task_file(name: str, box: BoundingBox | None, *endings: str) -> Path:
    """The file of one task.

    A name without any of the `endings` is a prefix: the box as text and the first ending are appended.
    Raises ConfigError when it is a prefix and there is no box.
    """
    if name.lower().endswith(endings):
        return Path(name)
    if box is None:
        boxes = f"give the chain boxes, for example by {operator_with('is_grid')}"
        raise ConfigError.one(
            "file_name",
            repr(name),
            "is a prefix to be completed by a box, and there is no box",
            f"end it with {endings[0]}, or {boxes}",
        )
    return Path(f"{name}{box}{endings[0]}")


def file_to_read(name: str, box: BoundingBox | None, *endings: str) -> Path:
    """The same, of a file to read: one that is there by that very name is meant, whatever its ending."""
    return Path(name) if Path(name).is_file() else task_file(name, box, *endings)


def in_folder(name: str) -> str:
    """`name`; that of a folder gets its slash, so that a box's name lies in it."""
    return f"{name}/" if Path(name).is_dir() and not name.endswith("/") else name


def storage_error(text: str, cause: BaseException) -> StorageUnavailable:
    """The error for what a system or a library said of storage."""
    return (
        StorageFull(text)
        if isinstance(cause, OSError) and cause.errno in _FULL
        else StorageUnavailable(text)
    )


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Say clearly what is wrong with a file while a library reads it.

    kind: what the file should be, for example HDF5.
    Raises DataMissing when it is absent or damaged, StorageUnavailable when the system could not read it.
    """
    try:
        yield
    except (ChunkflowError, MemoryError):
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise DataMissing(f"there is no file {path}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise StorageUnavailable(
                f"{path} cannot be read: {os.strerror(error.errno)}"
            ) from error
        raise DataMissing(f"{path} cannot be read as {kind}: {error}") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to; what was written appears as `path` when the block ends, and nothing does when it raises.

    Raises StorageUnavailable when the system could not write.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        _make_folder(path.parent)
        yield part
        part.replace(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise storage_error(f"{path} cannot be written: {reason}", error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # says mkdir of a file that stands there
        raise NotADirectoryError(errno.ENOTDIR, "a file") from None


class OneBoxPerFile:
    """Refuses to write the same file for two boxes, which would leave only the last of them."""

    def __init__(self, cure: str):
        self.cure = cure
        self._boxes: dict[str, BoundingBox] = {}

    @classmethod
    def named_by(cls, option: str, name: str, *endings: str, workers: bool) -> OneBoxPerFile:
        """For the files that `task_file` names.

        workers: each of them sees some of the boxes only, so that one file for all is refused at once. Raises ConfigError.
        """
        files = cls(
            f"leave {endings[0]} off {option}: as a prefix it names another file for each box"
        )
        if workers and name.lower().endswith(endings):
            raise ConfigError.one(
                option,
                repr(name),
                "is one file, and workers would overwrite it with each box",
                files.cure,
            )
        return files

    def claim(self, path: Path, box: BoundingBox) -> None:
        """Raises ConfigError when `path` was claimed for another box."""
        first = self._boxes.setdefault(str(path), box)
        if first != box:
            raise ConfigError.one(
                str(path),
                f"box {box}",
                f"would overwrite what was written for box {first}",
                self.cure,
            )
