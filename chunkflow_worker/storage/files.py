"""`Files`: small objects below a path, on a local disk, in an object store or in memory."""

from __future__ import annotations

import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, NamedTuple

from chunkflow_worker.errors import DataMissing, StorageUnavailable
from chunkflow_worker.storage.cloud import check_access, cloud_files, storage_errors
from chunkflow_worker.storage.fence import before_write
from chunkflow_worker.storage.json_text import parse_json
from chunkflow_worker.storage.local_file import atomic_file
from chunkflow_worker.storage.mended_cloudfiles import is_past_the_end
from chunkflow_worker.storage.path import local_folder, normal_path, writable_path
from chunkflow_worker.storage.s3_listing import Listed, list_s3
from chunkflow_worker.storage.written_file import (
    WrittenFile,
    checksum_of,
    file_checksum,
    is_noting,
    iso_time,
    local_time,
    note,
    note_shared,
    noting,
)


class Stored(NamedTuple):
    """An object in storage. size: in bytes. time: when it was stored, as `WrittenFile` has it."""

    size: int
    time: str


Packing = Literal["none", "gzip", "br", "zstd"]
ENDINGS: Mapping[Packing, str] = {"none": "", "gzip": ".gz", "br": ".br", "zstd": ".zstd"}
"""Of local files."""

_PART = 1 << 16  # bytes of a small file that are read at once
_AT_ONCE = 32  # objects that are read, and held in memory, before they are parsed


class Files:
    """The objects below one path. Several threads may share it.

    path: ``file://``, ``s3://``, ``gs://``, ``mem://`` or ``https://``; local without a protocol.
    Methods raise StorageUnavailable when storage fails, and ConfigError when the bucket is missing
    or a path to write to is read only. Those that write also raise what `before_write` raises.
    """

    def __init__(self, path: str):
        self.path = normal_path(path)
        self._local = local_folder(self.path)
        self._thread = threading.local()

    @property
    def _cloud(self) -> Any:
        """The CloudFiles of this thread; threads cannot share one."""
        if not hasattr(self._thread, "files"):
            self._thread.files = cloud_files(self.path)
        return self._thread.files

    def check_writable(self) -> None:
        """Raise ConfigError if the path is read only, as https is."""
        writable_path(self.path)

    def put_json(self, name: str, content: Any) -> None:
        """Write one object, completely or not at all."""
        self.put(name, json.dumps(content, indent=1).encode(), "application/json")

    def put(
        self,
        name: str,
        content: bytes,
        content_type: str,
        *,
        packing: Packing = "none",
        cache_control: str | None = None,
    ) -> None:
        """Write one object, completely or not at all.

        packing: how the content is compressed. A local file then has its ending, such as .gz.
        """
        self.check_writable()
        with storage_errors(f"{self.path}/{name}"):
            if self._local is not None:
                with atomic_file(self._local / f"{name}{ENDINGS[packing]}") as part:
                    part.write_bytes(content)
                return
            before_write()
            self._cloud.put(
                name,
                content,
                content_type=content_type,
                compress=None if packing == "none" else packing,
                raw=True,
                cache_control=cache_control,
            )
            self._note({name: content})

    def put_all(self, contents: Mapping[str, bytes], content_type: str) -> None:
        """Write many objects, each completely or not at all."""
        if self._local is not None:
            for name, content in contents.items():
                self.put(name, content, content_type)
            return
        self.check_writable()
        before_write()
        with storage_errors(self.path):
            self._cloud.puts(list(contents.items()), content_type=content_type)
            self._note(contents)

    def put_info(self, content: Any) -> None:
        """Write the object `info`, which says what lies here. Other tasks may change it."""
        with noting(None):
            self.put_json("info", content)
        note_shared(f"{self.path}/info")

    def _note(self, contents: Mapping[str, bytes]) -> None:
        """Note objects that were just written, as they are stored."""
        if not is_noting():
            return
        stored = self.stored(contents)
        for name, content in contents.items():
            found, path = stored[name], f"{self.path}/{name}"
            if found is None or found.size != len(content):
                raise StorageUnavailable(f"{path} is not stored after writing")
            note(WrittenFile(path, len(content), checksum_of(content), found.time))

    def exist(self, names: Iterable[str]) -> dict[str, bool]:
        """Whether objects are stored, compressed or not, by name."""
        with storage_errors(self.path):
            found: dict[str, bool] = self._cloud.exists(list(names))
            return found

    def get_all(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Read many objects at once; an absent one is None."""
        with storage_errors(self.path):
            return {f["path"]: f["content"] for f in self._cloud.get(list(names))}

    def stored(self, names: Iterable[str]) -> dict[str, Stored | None]:
        """Sizes and times of many objects; None for an absent one, and for a folder."""
        names = list(names)
        with storage_errors(self.path):
            if self._local is not None:
                return {name: _stored_here(self._local / name) for name in names}
            # cloudfiles can't tell the time of what is absent in memory or on a web server.
            present = names
            if not self.path.startswith(("s3://", "gs://")):
                present = [n for n, size in self._cloud.size(names).items() if size is not None]
            heads = self._cloud.head(present)
            return dict.fromkeys(names) | {
                name: Stored(head["Content-Length"], iso_time(head["Last-Modified"]))
                for name, head in heads.items()
                if head is not None
            }

    def checksums(self, names: Iterable[str]) -> dict[str, str | None]:
        """Checksums of the bytes of many objects, as `WrittenFile` has them; None if absent.

        Holds the objects in memory, unless they are files on this machine.
        """
        if self._local is None:
            contents = self.get_all(names)
            return {n: None if c is None else checksum_of(c) for n, c in contents.items()}
        with storage_errors(self.path):
            return {
                name: file_checksum(self._local / name)
                if _stored_here(self._local / name)
                else None
                for name in names
            }

    def size(self, name: str) -> int | None:
        """Size of one object in bytes as it is stored; None when it is absent."""
        with storage_errors(f"{self.path}/{name}"):
            if self._local is None:
                size: int | None = self._cloud.size(name)
                return size
            try:
                return (self._local / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def get(self, name: str) -> bytes | None:
        """Read one object; None when it is absent."""
        with storage_errors(f"{self.path}/{name}"):
            content: bytes | None = self._cloud.get(name)
            return content

    def part(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of one object from one place to before another; fewer where it ends before.

        Raises DataMissing when it is absent.
        """
        with storage_errors(f"{self.path}/{name}"):
            if self._local is None:
                content: bytes | None = self._cloud.get({"path": name, "start": start, "end": stop})
                if content is None:
                    raise DataMissing(f"there is no object {self.path}/{name}")
                return content
            with (self._local / name).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)

    def put_file(self, name: str, content: Path) -> None:
        """Write one object, completely or not at all, with the content of a file of any size."""
        self.check_writable()
        with storage_errors(f"{self.path}/{name}"):
            if self._local is not None:
                with atomic_file(self._local / name) as part:
                    shutil.copyfile(content, part)
                return
            before_write()
            with content.open("rb") as file:
                self._cloud.put(name, file, content_type="application/octet-stream", raw=True)

    def get_json(self, name: str, largest: int | None = None) -> Any:
        """Read one object; None when it is absent, not JSON, or has more than `largest` bytes."""
        return next(self.get_jsons([name], largest)) if largest else _parse(self.get(name))

    def get_jsons(self, names: Iterable[str], largest: int | None = None) -> Iterator[Any]:
        """Read many objects, in the order of `names`; None for one that `get_json` has none for.

        largest: bytes, as stored and unpacked. No more of an object is read.
        """
        remaining = iter(names)
        while batch := list(islice(remaining, _AT_ONCE)):
            contents = self._beginnings(batch, largest) if largest else self.get_all(batch)
            for name in batch:
                yield _parse(contents.get(name))

    def _beginnings(self, names: Iterable[str], largest: int) -> dict[str, bytes | None]:
        """The same as `get_all`, but None for an object of more than `largest` bytes."""
        contents: dict[str, bytes | None] = {}
        with storage_errors(self.path):
            if self._local is not None:  # without the many steps of cloudfiles for each
                contents = dict(_beginnings_here(self._local, dict.fromkeys(names), largest))
            left = [name for name in dict.fromkeys(names) if name not in contents]
            requests = [{"path": name, "start": 0, "end": largest + 1} for name in left]
            for found in self._cloud.get(requests, raw=True, raise_errors=False):
                error = found["error"]
                if error is not None and not is_past_the_end(error):  # that of an empty object
                    raise error
                content = _unpacked(found["content"], found["compress"], largest)
                contents[found["path"]] = content
        return contents

    def present(self, names: Iterable[str]) -> set[str]:
        """Which of these objects there are: one request, if their names begin alike."""
        names = list(names)
        with storage_errors(self.path):
            if self._local is not None:
                return {name for name in names if _stored_here(self._local / name)}
            prefix = os.path.commonprefix(names)  # noqa: RUF071  # of keys, which are no paths
            found = self._cloud.list(prefix=prefix, flat=True)
            return {*found}.intersection(names)

    def list(self, prefix: str = "") -> list[str]:
        """Names of the objects directly below the path that begin with `prefix`."""
        if self._local is not None and not self._local.exists():
            return []
        with storage_errors(self.path):
            names = self._cloud.list(prefix=prefix, flat=True)
            return [name for name in names if not name.startswith(".")]

    def names(self, prefix: str = "") -> Iterator[str]:
        """The same as `list`, with no more than a page of it in memory, and hidden files too."""
        with storage_errors(self.path):
            if self.lists_times and self._local is None:
                found: Iterator[str] = (one.name for one in self.listed(prefix))
            elif self._local is None:
                found = self._cloud.list(prefix=prefix, flat=True)
            elif self._local.exists():
                found = (entry.name for entry in os.scandir(self._local))
            else:
                return
            if prefix:  # which a local folder does not know
                found = (name for name in found if name.startswith(prefix))
            yield from found

    def clear(self) -> None:
        """Delete all objects below the path, however deep, of a place that only the caller uses."""
        self.check_writable()
        before_write()
        with storage_errors(self.path):
            self._cloud.delete(self._cloud.list())

    def listed(self, prefix: str = "", *, deep: bool = False) -> Iterator[Listed]:
        """The same as `names`, with sizes, and with times and tags where storage lists them.

        deep: also of the objects in folders below the path.
        """
        with storage_errors(self.path):
            if self._local is not None:
                yield from _listed_here(self._local, prefix, deep)
            elif self.lists_times:
                check_access(self.path)
                yield from list_s3(self.path, prefix, deep=deep)
            else:
                found = self._cloud.list(prefix=prefix, flat=not deep, size=True)
                yield from (Listed(name, size, "", "") for name, size in found)

    @property
    def lists_times(self) -> bool:
        """Whether `listed` tells when objects were stored."""
        is_s3 = self.path.startswith("s3://") and "://" not in self.path.removeprefix("s3://")
        return is_s3 or self._local is not None

    @property
    def is_local(self) -> bool:
        """Whether the path is a folder of this machine."""
        return self._local is not None

    def delete(self, name: str) -> None:
        """Delete one object, if it exists."""
        self.check_writable()
        before_write()
        with storage_errors(f"{self.path}/{name}"):
            self._cloud.delete(name)

    def delete_all(self, names: Iterable[str]) -> None:
        """Delete many objects, those of them that exist: a thousand by one request of S3."""
        self.check_writable()
        before_write()
        with storage_errors(self.path):
            if self._local is None:
                self._cloud.delete(list(names))
                return
            for name in names:
                (self._local / name).unlink(missing_ok=True)


def _beginnings_here(
    folder: Path, names: Iterable[str], largest: int
) -> Iterator[tuple[str, bytes | None]]:
    """The files that are there and not compressed; None for one of more than `largest` bytes."""
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            content = _beginning(f"{folder}/{name}", largest + 1)
            yield name, content if len(content) <= largest else None


def _beginning(path: str, size: int) -> bytes:
    """Up to `size` bytes of a file, by few system calls: there may be a million files."""
    file = os.open(path, os.O_RDONLY)
    try:
        content = os.read(file, min(size, _PART))
        while len(content) < size and (part := os.read(file, min(size - len(content), _PART))):
            content += part
        return content
    finally:
        os.close(file)


def _unpacked(content: bytes | None, encoding: str | None, largest: int) -> bytes | None:
    """None for more than `largest` bytes, and for an encoding that nothing here writes."""
    if content is None or len(content) > largest:
        return None
    if not encoding:
        return content
    if encoding != "gzip":
        return None
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, largest + 1)
    except zlib.error:
        return None
    return unpacked if len(unpacked) <= largest else None


def _stored_here(path: Path) -> Stored | None:
    """A file on this machine; None when there is none, or something else of this name."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stored(found.st_size, local_time(found)) if S_ISREG(found.st_mode) else None


def _listed_here(folder: Path, prefix: str, deep: bool, above: str = "") -> Iterator[Listed]:
    if not folder.exists():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{above}{entry.name}"
            if entry.is_dir():
                if deep and (name.startswith(prefix) or prefix.startswith(f"{name}/")):
                    yield from _listed_here(folder / entry.name, prefix, deep, f"{name}/")
            elif name.startswith(prefix):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    found = entry.stat()
                    tag = f"{found.st_mtime_ns}-{found.st_ino}"
                    yield Listed(name, found.st_size, local_time(found), tag)


def _parse(content: bytes | None) -> Any:
    try:
        return None if content is None else parse_json(content)
    except ValueError:
        return None
