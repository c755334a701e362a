"""Sizes in the headers of compressed pictures, as other libraries write them."""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest

from chunkflow_worker.storage.formats.picture_size import picture_size

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "png": imagecodecs.png_encode,
    "jpeg": imagecodecs.jpeg_encode,
    "jpeg 2000": imagecodecs.jpeg2k_encode,
    "jpeg 2000 alone": lambda picture: imagecodecs.jpeg2k_encode(picture, codecformat="J2K"),
    "jpeg xl": imagecodecs.jpegxl_encode,
    "jpeg xl in boxes": lambda picture: imagecodecs.jpegxl_encode(picture, usecontainer=True),
    "webp": lambda picture: imagecodecs.webp_encode(np.stack([picture] * 3, -1)),
    "webp lossless": lambda picture: imagecodecs.webp_encode(
        np.stack([picture] * 3, -1), lossless=True
    ),
}


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (40, 9), (513, 1000), (256, 256), (300, 400)])
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
def test_the_size_is_that_of_the_picture(
    encode: Callable[[np.ndarray], bytes], size: tuple[int, int]
) -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, size, np.uint8))
    found = picture_size(data)
    assert found is not None
    assert (found.height, found.width) == size
    assert found.nbytes >= size[0] * size[1]
    for length in range(0, 40, 3):
        cut = picture_size(data[:length])
        assert cut is None or (cut.height, cut.width) == size


@pytest.mark.parametrize("data", [b"", b"\0" * 50, b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 50])
def test_what_is_no_picture_has_no_size(data: bytes) -> None:
    assert picture_size(data) is None
