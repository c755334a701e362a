"""`picture_size`: how large a compressed picture is, by its header, before it is unpacked.

Each format says it in its first bytes: https://www.w3.org/TR/png-3/, ITU-T T.81 (JPEG), T.800
(JPEG 2000), RFC 9649 (WebP) and ISO/IEC 18181-1 (JPEG XL).
"""

from __future__ import annotations

from typing import NamedTuple

_SIDES = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of JPEG XL
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers of JPEG among those of frames


class PictureSize(NamedTuple):
    """Pixels along each side, and bytes of a pixel, at most."""

    height: int
    width: int
    pixel: int = 4

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.pixel


def picture_size(data: bytes) -> PictureSize | None:
    """The size that a picture says it has; None if it is of no known format or its header is cut.

    data: from the start of the picture.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 26:
        samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 4)
        width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        return PictureSize(height, width, samples * (2 if data[24] == 16 else 1))
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[4:12] == b"jP  \r\n\x87\n" or data.startswith(b"\xff\x4f\xff\x51"):
        return _jpeg2000(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"\xff\x0a"):
        return _jpegxl(data[2:])
    if data[4:12] == b"JXL \r\n\x87\n":
        return _jpegxl_in_boxes(data)
    return None


def _jpeg(data: bytes) -> PictureSize | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            height = int.from_bytes(data[at + 5 : at + 7])
            width = int.from_bytes(data[at + 7 : at + 9])
            samples = data[at + 9] if at + 9 < len(data) else 4
            return PictureSize(height, width, samples * (2 if data[at + 4] > 8 else 1))
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _jpeg2000(data: bytes) -> PictureSize | None:
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 > len(data):
        return None
    right, bottom, left, top = (int.from_bytes(data[at + n : at + n + 4]) for n in (8, 12, 16, 20))
    samples, depth = int.from_bytes(data[at + 40 : at + 42]), data[at + 42 : at + 43]
    wide = 4 if (depth[0] & 0x7F) > 15 else 2 if (depth[0] & 0x7F) > 7 else 1
    return PictureSize(max(bottom - top, 0), max(right - left, 0), samples * wide)


def _webp(data: bytes) -> PictureSize | None:
    kind, body = data[12:16], data[20:]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        width, height = int.from_bytes(body[4:7], "little"), int.from_bytes(body[7:10], "little")
        return PictureSize(height + 1, width + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return PictureSize((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return PictureSize(height & 0x3FFF, width & 0x3FFF)


def _jpegxl_in_boxes(data: bytes) -> PictureSize | None:
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        head = 16 if length == 1 else 8
        if kind in (b"jxlc", b"jxlp"):
            start = at + head + (4 if kind == b"jxlp" else 0)
            found = data[start : start + 2] == b"\xff\x0a"
            return _jpegxl(data[start + 2 :]) if found else None
        length = int.from_bytes(data[at + 8 : at + 16]) if length == 1 else length
        if length < head:
            return None
        at += length
    return None


def _jpegxl(data: bytes) -> PictureSize | None:
    """Sides are stored in groups of bits, the lowest first."""
    bits, at = int.from_bytes(data[:16], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> at - count & (1 << count) - 1

    def side() -> int:
        return 1 + take((9, 13, 18, 30)[take(2)])

    if len(data) < 10:
        return None
    small = take(1)
    height = 8 * (1 + take(5)) if small else side()
    ratio = _SIDES[take(3)]
    if ratio:
        return PictureSize(height, height * ratio[0] // ratio[1], 16)
    return PictureSize(height, 8 * (1 + take(5)) if small else side(), 16)
