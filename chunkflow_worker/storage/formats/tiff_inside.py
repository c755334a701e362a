"""What a TIFF file may not do: read files of other folders, and unpack to more than it says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from chunkflow_worker.errors import DataRefused
from chunkflow_worker.storage.formats.picture_size import picture_size
from chunkflow_worker.storage.largest import check_block

_DECLARES = re.compile(r"<!\s*(DOCTYPE|ENTITY)")
_HEADS = (1 << 12, 1 << 18)  # bytes of a segment that hold its header, mostly and at most
# Compressions whose segments say their size themselves, by their numbers in TIFF.
_PICTURES = {
    6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34892, 34933, 34934, 50001, 50002, 52546
}  # fmt: skip


def other_files(tif: Any) -> list[str]:
    """Names of the files that an OME-TIFF lists as parts of the same image."""
    if not tif.is_ome:
        return []
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return []
    names = [item.get("FileName") for item in root.iter() if item.tag.endswith("}UUID")]
    return list(dict.fromkeys(name for name in names if name))


def check_names(tif: Any, path: Path) -> None:
    """Raise DataRefused if an OME-TIFF names files of other folders, or its XML has entities.

    Entities, of which each holds several others, become gigabytes of text.
    """
    if tif.is_ome and _DECLARES.search(tif.ome_metadata or ""):
        raise DataRefused(
            f"{path} has OME-XML that declares entities, which are not read\n    remove it, as by "
            "tiffcomment -set ''"
        )
    folder = path.parent.resolve()
    for name in other_files(tif):
        if (path.parent / name).resolve().parent != folder and name != path.name:
            raise DataRefused(
                f"{path} names {name} as a part of its image, which is in another folder\n    put "
                "the files of an image in one folder"
            )


def check_pages(pages: Iterable[Any], key: Any, path: Path) -> None:
    """Raise DataRefused if a tile or strip of these pages unpacks to more than is taken.

    key: the page of tifffile whose tags count for all pages of the image.
    """
    strip = (1, min(key.rowsperstrip, key.shaped[2]), key.shaped[3])
    tile = (key.tiledepth, key.tilelength, key.tilewidth) if key.is_tiled else strip
    what = f"{path}: a {'tile' if key.is_tiled else 'strip'}"
    check_block(prod(tile) * key.shaped[4] * key.dtype.itemsize, what)
    if key.compression not in _PICTURES:
        return  # tifffile unpacks no more than this
    for page in pages:
        if page is None:
            continue
        file = page.parent.filehandle
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if count and _pixels(file, offset, count, what) > prod(tile):
                raise DataRefused(f"{what} holds more pixels than the {prod(tile)} that it may")


def _pixels(file: Any, offset: int, count: int, what: str) -> int:
    """The pixels of a segment, by its own header."""
    for length in _HEADS:
        file.seek(offset)
        found = picture_size(file.read(min(count, length)))
        if found is not None:
            return found.height * found.width
    raise DataRefused(f"{what} does not say how large it is: convert it, for example to LZW")
