"""The header of pictures that Pillow writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.storage.formats.png_header import PngHeader


@pytest.mark.parametrize(
    ("dpi", "pixel"), [(None, None), (72, None), (96, None), (300, 84_667), (6_350_000, 4)]
)
def test_the_size_of_pixels_unless_it_is_that_of_a_screen(tmp_path: Path, dpi, pixel) -> None:
    options = {"dpi": (dpi, dpi)} if dpi else {}
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(tmp_path / "a.png", **options)
    header = PngHeader.read(tmp_path / "a.png")
    assert (header.height, header.width, header.is_indexed) == (3, 5, False)
    assert header.pixel == (pixel and pytest.approx((pixel, pixel), rel=1e-3))


def test_a_palette(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 5), np.uint8)).convert("P").save(tmp_path / "a.png")
    assert PngHeader.read(tmp_path / "a.png").is_indexed


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(60)])
def test_another_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="header"):
        PngHeader.read(tmp_path / "a.png")
