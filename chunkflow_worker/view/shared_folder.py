"""`find`: a stored file in a folder that is served, as it is, packed or unpacked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from chunkflow_worker.config.largest_block import largest_block
from chunkflow_worker.storage.files import ENDINGS
from chunkflow_worker.storage.gzipped import gunzipped

Made = Callable[[str], bytes | None]
"""The content of a file that is not stored, by its name in a folder; None if there is none."""


@dataclass(frozen=True)
class Shared:
    """A folder that is served. made: files that come before those of the folder."""

    folder: Path | None
    made: Made = lambda name: None


@dataclass
class Content:
    """An open file or some bytes, with their size and how they are packed."""

    file: BinaryIO | bytes
    size: int
    encoding: str = ""


def find(shared: Shared, names: list[str], accepted: str, whole: bool) -> Content | None:
    """The file of this name, None if there is none. The caller closes it.

    names: of the folders on the way, and of the file. accepted, whole: see `FileServer.find`.
    """
    made = shared.made("/".join(names))
    if made is not None:
        return Content(made, len(made))
    if shared.folder is None or not names[-1]:
        return None
    for packing, ending in ENDINGS.items():
        found = _opened(shared.folder, [*names[:-1], names[-1] + ending])
        if found is None:
            continue
        if not ending:
            return found
        if whole and packing in re.split(r"[\s,;]+", accepted):
            found.encoding = packing
            return found
        if packing == "gzip":
            return _unpacked(found)
        found.file.close()  # type: ignore[union-attr]
    return None


def _unpacked(packed: Content) -> Content | None:
    """For a client that takes no gzip, or asks for a part of the file as it is without."""
    assert not isinstance(packed.file, bytes)
    with packed.file as file, suppress(ValueError, EOFError):
        content = gunzipped(file.read(), largest_block())
        if len(content) <= largest_block():
            return Content(content, len(content))
    return None


def _opened(folder: Path, names: list[str]) -> Content | None:
    """A file below a folder; None if there is none, or a link leads to a place outside."""
    with suppress(OSError, ValueError):
        root = folder.resolve()
        place = root.joinpath(*names).resolve(strict=True)
        if not place.is_relative_to(root):
            return None
        # Not to wait for the other end of a pipe.
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        status = os.fstat(descriptor)
        if S_ISREG(status.st_mode):
            return Content(os.fdopen(descriptor, "rb"), status.st_size)
        os.close(descriptor)
    return None
