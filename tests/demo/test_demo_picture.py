"""The picture has the expected size, and shows something in every panel."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL")

from picture import FOOT, GAP, HEAD, PANEL, write_picture
from PIL import Image

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (3, 60, 80), np.uint8)
PROBABILITY = RNG.random((3, 60, 80), np.float32)


@pytest.mark.parametrize(("truth", "panels"), [(None, 3), (PROBABILITY > 0.4, 4)])
def test_panels_stand_side_by_side(tmp_path, truth, panels):
    write_picture(IMAGE, PROBABILITY, truth, tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (HEAD + PANEL * 60 // 80 + FOOT, GAP + panels * (PANEL + GAP), 3)
    for i in range(panels):
        left = GAP + i * (PANEL + GAP)
        assert pixels[HEAD:-FOOT, left : left + PANEL].std() > 20
        assert (pixels[:HEAD, left : left + PANEL] > 100).any(), "the panel has no title"
    assert (pixels[-FOOT:] > 100).any(), "the line at the bottom is missing"


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match="probability has shape"):
        write_picture(IMAGE, PROBABILITY[:2], None, tmp_path / "demo.png")
