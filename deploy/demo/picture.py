"""Draw the demo's result: one section of the input, the output, and the truth if it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from score import score

PANEL = 480
GAP = 16
HEAD = 38
FOOT = 48
PAPER, INK, FAINT = (18, 18, 22), (240, 238, 232), (165, 162, 155)
WARM = ((255, 236, 160), (255, 170, 40), (240, 80, 20))
MAP = ((4, 4, 14), (70, 16, 100), (190, 55, 75), (248, 140, 20), (252, 250, 170))

ROUND_NUMBERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

Pixels = NDArray[np.uint8]


def write_picture(
    image_zyx: NDArray[np.uint8],
    probability_zyx: NDArray[np.floating],
    truth: NDArray[np.bool_] | None,
    path_png: str | Path,
) -> None:
    """Write a PNG of the middle section. Raises ValueError if the shapes differ.

    image_zyx: uint8.
    probability_zyx: 0 to 1, of the same shape.
    truth: bool, of the same shape; None if it is not known.
    """
    for name, array in (("probability", probability_zyx), ("truth", truth)):
        if array is not None and array.shape != image_zyx.shape:
            raise ValueError(f"{name} has shape {array.shape}, the image {image_zyx.shape}")
    depth, height, width = image_zyx.shape
    z = depth // 2
    grey, probability = image_zyx[z], np.clip(probability_zyx[z].astype(np.float32), 0, 1)
    panels = {
        "input": np.repeat(grey[..., None], 3, 2),
        "membranes on the input": _overlay(grey, probability),
        "probability of membrane": _colour(probability, MAP),
    }
    foot = f"section z = {z} of {depth}, {height} x {width} voxels"
    if truth is not None:
        panels["truth"] = _colour(truth[z].astype(np.float32), ((0, 0, 0), (255, 255, 255)))
        scores = score(probability_zyx, truth).items()
        foot += "      all sections, probability above 0.5:  "
        foot += "   ".join(f"{key.replace('f1', 'F1')} {value:.2f}" for key, value in scores)
    scale = PANEL / width
    size = (PANEL, max(1, round(height * scale)))
    sheet = Image.new("RGB", (GAP + len(panels) * (size[0] + GAP), HEAD + size[1] + FOOT), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (title, pixels) in enumerate(panels.items()):
        left = GAP + i * (size[0] + GAP)
        sheet.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), (left, HEAD))
        draw.text((left, HEAD / 2), title, INK, _font(19), anchor="lm")
    _draw_scale_bar(draw, GAP, HEAD + size[1], scale, width)
    _draw_legend(sheet, draw, GAP + 3 * (size[0] + GAP) - GAP, HEAD / 2)
    draw.text((GAP, HEAD + size[1] + FOOT / 2), foot, FAINT, _font(16), anchor="lm")
    sheet.save(path_png, optimize=True)


def _overlay(grey: Pixels, probability: NDArray[np.float32]) -> Pixels:
    cover = 0.85 * np.clip((probability - 0.1) / 0.6, 0, 1)[..., None]
    return (grey[..., None] * (1 - cover) + _colour(probability, WARM) * cover).astype(np.uint8)


def _colour(values: NDArray[np.float32], ramp: tuple[tuple[int, int, int], ...]) -> Pixels:
    """Return the colours (yxc, uint8) of values from 0 to 1."""
    at = np.linspace(0, 1, len(ramp))
    channels = [np.interp(values, at, channel) for channel in np.transpose(ramp)]
    return np.stack(channels, -1).astype(np.uint8)


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, left: float, bottom: float, scale: float, width: int
) -> None:
    """Draw a bar for a round number of voxels, at most a third of the panel wide."""
    voxels = max(n for n in ROUND_NUMBERS if n <= max(1, width / 3))
    text, font = f"{voxels} voxels", _font(16)
    bar, label = voxels * scale, draw.textlength(text, font)
    x, y, wide = left + 12, bottom - 46, max(bar, label) + 20
    draw.rectangle((x, y, x + wide, y + 36), PAPER)
    draw.text((x + wide / 2, y + 13), text, INK, font, anchor="mm")
    draw.rectangle((x + (wide - bar) / 2, y + 26, x + (wide + bar) / 2, y + 29), INK)


def _draw_legend(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, right: float, middle: float
) -> None:
    """Draw the colours of the probability map, from 0 to 1."""
    ramp = _colour(np.tile(np.linspace(0, 1, 90, dtype=np.float32), (10, 1)), MAP)
    draw.text((right, middle), "1", FAINT, _font(15), anchor="rm")
    sheet.paste(Image.fromarray(ramp), (round(right) - 106, round(middle) - 5))
    draw.text((right - 112, middle), "0", FAINT, _font(15), anchor="rm")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
