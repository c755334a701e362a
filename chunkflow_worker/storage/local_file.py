"""Files on this machine: their names, clear errors when one is read, and writes of whole files."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import islice
from json import JSONDecodeError
from pathlib import Path

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.places import check_local
from chunkflow_worker.errors import (
    ChunkflowError,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.fence import before_write
from chunkflow_worker.storage.file_kind import file_kind
from chunkflow_worker.storage.written_file import note_local

_LISTED = 10_000  # names of a folder that are looked at for one that is similar
_NO_NUMBER = re.compile(r"(?:invalid literal for int.*|could not convert string to float): (.+)")
_OF_CODE = re.compile(r"values to unpack|cannot reshape|buffer is smaller|operands could not")
_LONGEST = 500  # letters of a library's error
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP
)  # fmt: skip


def local_name(name: str) -> str:
    """Check an option that names a local file, as a pydantic validator, and expand ``~``.

    Raises Mistake for an address with a protocol, one that is mistyped, or one with a variable.
    """
    check_local(name)
    # A shell does not expand the tilde of --file-name=~/em.h5.
    return f"{Path.home()}{name[1:]}" if name == "~" or name.startswith("~/") else name


def task_file(name: str, box: BoundingBox | None, *endings: str) -> Path:
    """The file of one task.

    name: a file when it has one of the `endings`; otherwise a prefix, to which the box and the
        first ending are appended.
    Raises ConfigError for a prefix without a box.
    """
    if name.lower().endswith(endings):
        return Path(name)
    if box is None:
        boxes = f"give the chain boxes, for example by {operator_with('is_grid')}"
        cure = f"end it with {endings[0]}, or {boxes}"
        problem = "is a prefix that needs a box to complete it, but there is no box"
        raise ConfigError.one("file_name", repr(name), problem, cure)
    return Path(f"{name}{box}{endings[0]}")


def own_file(name: str, box: BoundingBox | None, *endings: str) -> list[str]:
    """The path of the file of one task, as `task_file` names it, if no other task has the same."""
    is_shared = name.lower().endswith(endings)
    return [] if is_shared else [str(task_file(name, box, *endings))]


def file_to_read(name: str, box: BoundingBox | None, *endings: str) -> Path:
    """The file `name` when it exists, whatever its ending; otherwise the same as `task_file`."""
    if Path(name).is_file():
        return Path(name)
    if box is None and not name.lower().endswith(endings):
        boxes = f"give the chain boxes, for example by {operator_with('is_grid')}"
        problem = "there is no such file, and a prefix of files needs a box to complete it"
        raise ConfigError.one("file_name", repr(name), problem, f"check the path, or {boxes}")
    return task_file(name, box, *endings)


def in_folder(name: str) -> str:
    """`name` as a prefix of files: that of a folder gets a slash at the end."""
    return f"{name}/" if Path(name).is_dir() and not name.endswith("/") else name


def storage_error(text: str, cause: BaseException) -> StorageUnavailable:
    """StorageFull when `cause` says that the disk is full or read-only, StorageRefused when nothing
    may be written there, else StorageUnavailable.
    """
    number = cause.errno if isinstance(cause, OSError) else None
    if number in _FULL:
        return StorageFull(text)
    return StorageRefused(text) if number in _REFUSED else StorageUnavailable(text)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Report clearly what is wrong with a file while a library reads it.

    kind: the format of the file, for example HDF5.
    Raises DataMissing when it is absent or damaged, StorageUnavailable when the system fails to
    read it.
    """
    try:
        yield
    except (ChunkflowError, MemoryError):
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        # A header may name a file of its own that is missing.
        missing = Path(error.filename) if isinstance(error.filename, str) else path
        raise DataMissing(f"there is no file {missing}: {_nearest(missing)}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            reason = os.strerror(error.errno)
            raise storage_error(f"{path} cannot be read: {reason}", error) from error
        found = file_kind(path)
        is_other = found is not None and kind not in found
        cause = f"it is {found}" if is_other else _cause(error)
        raise DataMissing(f"{path} cannot be read as {kind}: {cause}") from error


def _nearest(missing: Path) -> str:
    """What a user may have meant by a file that does not exist."""
    if missing.is_dir():
        return "it is a folder; name a file in it"
    folder = missing.parent
    while not folder.exists():
        folder = folder.parent
    if folder != missing.parent:
        return f"{folder} has no {missing.relative_to(folder).parts[0]}"
    with suppress(OSError):
        names = (path.name for path in islice(folder.iterdir(), _LISTED))
        similar = get_close_matches(missing.name, names, n=1, cutoff=0.7)
        if similar:
            return f"did you mean {folder / similar[0]}?"
    return "check the path"


def _cause(error: Exception) -> str:
    """What is wrong with a file, by the error of the library that reads it."""
    if "mmap length is greater than file size" in str(error):
        return "its end is missing; copy or make it again"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    # These speak of the library's code, and not of the file.
    kinds = (LookupError, ArithmeticError, TypeError, AttributeError, UnicodeError)
    if isinstance(error, kinds) or _OF_CODE.search(str(error)):
        return "it is damaged, or of a form that is not known; copy or make it again"
    if isinstance(error, JSONDecodeError):
        return f"it is not JSON at line {error.lineno}, column {error.colno}"
    if found := _NO_NUMBER.search(str(error)):
        return f"it has {found[1]} where a number belongs"
    text = str(error)  # it may quote the file
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which becomes `path` when the block ends.

    When the block raises, `path` does not change and the partial file is deleted. The file is noted
    for the record of the task that writes it.
    Raises StorageUnavailable when the system fails to write, and what `before_write` raises.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        _make_folder(path.parent)
        yield part
        before_write()
        part.replace(path)
        note_local(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise storage_error(f"{path} cannot be written: {reason}", error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def create_file(path: Path, content: bytes) -> bool:
    """Write a file unless there is one, completely or not at all; False when there is one.

    Of several processes that try at the same time, one succeeds. Raises OSError.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    _make_folder(path.parent)
    try:
        part.write_bytes(content)
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # the error of mkdir when a file has this name
        raise NotADirectoryError(errno.ENOTDIR, "a file") from None


class OneBoxPerFile:
    """Refuses to write one file for two boxes, because only the last of them would remain.

    cure: what the user should do about it.
    """

    def __init__(self, cure: str):
        self.cure = cure
        self._boxes: dict[str, BoundingBox] = {}

    @classmethod
    def named_by(cls, option: str, name: str, *endings: str, workers: bool) -> OneBoxPerFile:
        """For the files that `task_file` names.

        option: that holds `name`.
        workers: whether workers write the files. Each of them sees only some of the boxes, so one
            file for all boxes is refused at once.
        Raises ConfigError.
        """
        cure = (
            f"remove {endings[0]} from {option}: it is then a prefix, and each box gets its own "
            "file"
        )
        if workers and name.lower().endswith(endings):
            problem = "is one file, and workers would overwrite it with each box"
            raise ConfigError.one(option, repr(name), problem, cure)
        return cls(cure)

    def claim(self, path: Path, box: BoundingBox) -> None:
        """Reserve `path` for a box. Raises ConfigError when another box has reserved it."""
        first = self._boxes.setdefault(str(path), box)
        if first != box:
            problem = f"would overwrite what was written for box {first}"
            raise ConfigError.one(str(path), f"box {box}", problem, self.cure)
