"""`PngHeader`: what a PNG picture says before its pixels. https://www.w3.org/TR/png-3/"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chunkflow_worker.storage.formats.picture_size import picture_size

_MAGIC = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
_METRE = 1
_OF_SCREENS = (72, 96)  # pixels per inch that programs write if they know no better


@dataclass(frozen=True)
class PngHeader:
    """height, width: pixels. is_indexed: values are indices of a palette.

    nbytes: of the pixels when they are unpacked.
    pixel: height and width of a pixel in nanometres; None if the picture gives none, or only that
        of a screen.
    """

    height: int
    width: int
    is_indexed: bool
    nbytes: int
    pixel: tuple[float, float] | None = None

    @classmethod
    def read(cls, path: Path) -> PngHeader:
        """Raises ValueError for another format, and OSError."""
        pixel = None
        with path.open("rb") as file:
            head = file.read(33)  # the mark and the first chunk, IHDR
            if len(head) < 33 or not head.startswith(_MAGIC):
                raise ValueError("it does not have the header")
            while True:
                start = file.read(8)
                length, kind = int.from_bytes(start[:4]), start[4:]
                if kind == b"pHYs" and length == 9:
                    pixel = _pixel(file.read(9))
                if kind in (b"pHYs", b"IDAT", b"IEND", b""):
                    break
                file.seek(length + 4, 1)  # its content and checksum
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        size = picture_size(head)
        return cls(height, width, head[25] == _INDEXED, size.nbytes if size else 0, pixel)


def _pixel(content: bytes) -> tuple[float, float] | None:
    """Pixels per metre along x and y, and whether they are per metre."""
    x, y = int.from_bytes(content[:4]), int.from_bytes(content[4:8])
    if content[8:9] != bytes([_METRE]) or not x or not y or round(x * 0.0254) in _OF_SCREENS:
        return None
    return 1e9 / y, 1e9 / x
